"""The default: a convolutional network small enough to be pruned and trained in seconds on a CPU."""

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from prune_init.architectures.inputs import image_shape, positive, with_input_shape
from prune_init.architectures.weights import kaiming_normal


def conv(num_classes: int, input_shape: Sequence[int], widths: Sequence[int] = (16, 32, 64, 64)) -> nn.Module:
    """3x3 convolutions with batch norm, a max pool after all but the last, and one linear layer.

    65,808 prunable weights in 5 tensors on 1x28x28 images with 10 classes. Source: none; it follows the CIFAR
    VGG (`vgg.py`) in shape and initial weights. Differs from it: convolutions without bias, and the last
    feature map is flattened instead of averaged, which was slightly better in runs of five epochs.

    Args:
        input_shape: (C, H, W), H and W at least 2 to the power of (number of convolutions - 1): 8.
        widths: Output channels of each convolution, at least one.

    Raises:
        InputError: An image too small for the pools, or a width or number of classes that is not positive.
    """
    pools = positive("widths", len(widths)) - 1
    shape = image_shape(input_shape, smallest=2**pools)
    features: list[nn.Module] = []
    for wide_in, wide_out in pairwise([shape[0], *(positive("widths", width) for width in widths)]):
        if features:
            features.append(nn.MaxPool2d(2))
        convolution = nn.Conv2d(wide_in, wide_out, kernel_size=3, padding=1, bias=False)
        features += [convolution, nn.BatchNorm2d(wide_out), nn.ReLU()]
    flat = widths[-1] * (shape[1] >> pools) * (shape[2] >> pools)  # each pool halves, rounding down
    model = nn.Sequential(
        OrderedDict(
            features=nn.Sequential(*features),
            flatten=nn.Flatten(),
            classifier=nn.Linear(flat, positive("num_classes", num_classes)),
        )
    )
    kaiming_normal(model)
    return with_input_shape(model, shape)
