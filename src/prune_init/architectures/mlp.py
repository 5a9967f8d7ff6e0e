"""The fully connected network of the pruning papers."""

from collections.abc import Sequence
from itertools import pairwise
from math import prod

from torch import nn

from prune_init.architectures.inputs import image_shape, positive, with_input_shape


def mlp(num_classes: int, input_shape: Sequence[int], hidden: Sequence[int] = (100, 100, 100, 100, 100)) -> nn.Module:
    """Flatten, then linear layers with a ReLU between them; no normalisation.

    Source: the `fc` network of Tanaka et al. 2020 (SynFlow): 6 layers, 119,400 prunable weights on MNIST.
    Weights and biases have PyTorch's default initialisation, as published. So the biases are not zero, although
    SynFlow's theorem 3 (maximal critical compression) assumes that they are.

    Args:
        hidden: Widths of the hidden layers; an empty list is a linear classifier.

    Raises:
        InputError: A shape, width or number of classes that is not positive.
    """
    shape = image_shape(input_shape)
    widths = [prod(shape), *(positive("hidden", width) for width in hidden)]
    layers: list[nn.Module] = [nn.Flatten()]
    for wide_in, wide_out in pairwise(widths):
        layers += [nn.Linear(wide_in, wide_out), nn.ReLU()]
    layers.append(nn.Linear(widths[-1], positive("num_classes", num_classes)))
    return with_input_shape(nn.Sequential(*layers), shape)
