"""VGG with batch norm, in the two forms of the pruning papers: CIFAR and Tiny-ImageNet."""

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from prune_init.architectures.inputs import image_shape, positive, with_input_shape
from prune_init.architectures.weights import kaiming_normal
from prune_init.errors import InputError

WIDTHS = (64, 128, 256, 512, 512)
"""Channels of each group of convolutions; a max pool halves the image between groups."""

GROUPS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
"""Convolutions in each group, by depth (Simonyan and Zisserman 2015, table 1: A, B, D, E)."""


def vgg(depth: int, num_classes: int, input_shape: Sequence[int]) -> nn.Module:
    """VGG for small images: four max pools, global average pooling and one linear layer.

    Source: the VGG of Frankle et al. 2020 and Tanaka et al. 2020. Convolutions have a bias and batch norm; all
    weights N(0, 2 / fan in), biases 0. Prunable weights on CIFAR-10: VGG-11 9,222,848, VGG-16 14,715,584, VGG-19
    20,024,000. Differs from the reference: its average pool of 2 is a global average here, which is the same at
    32x32 and allows other sizes; an input need not have three channels.

    Args:
        depth: 11, 13, 16 or 19.
        input_shape: (C, H, W), H and W at least 16.

    Raises:
        InputError: Another depth, an image below 16x16, or no classes.
    """
    groups = _groups(depth)
    shape = image_shape(input_shape, smallest=16)
    model = nn.Sequential(
        OrderedDict(
            features=_features(groups, shape[0]),
            pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            classifier=nn.Linear(WIDTHS[-1], positive("num_classes", num_classes)),
        )
    )
    kaiming_normal(model)
    return with_input_shape(model, shape)


def vgg_tiny(depth: int, num_classes: int, input_shape: Sequence[int]) -> nn.Module:
    """VGG for Tiny-ImageNet: five max pools and a classifier 2048-1024-1024-C with dropout 0.5.

    Source: Tanaka et al. 2020. Convolutions with bias and batch norm, N(0, 2 / fan out); linear N(0, 0.01^2);
    biases 0. Prunable weights on Tiny-ImageNet: VGG-11 12,568,256, VGG-16 18,060,992. Differs from the reference:
    the size of the classifier's input follows from `input_shape` (2048 at 64x64) instead of being fixed at 2048.

    Args:
        depth: 11, 13, 16 or 19.
        input_shape: (C, H, W), H and W at least 32.

    Raises:
        InputError: Another depth, an image below 32x32, or no classes.
    """
    groups = _groups(depth)
    shape = image_shape(input_shape, smallest=32)
    features = _features(groups, shape[0]).append(nn.MaxPool2d(2))
    kaiming_normal(features, mode="fan_out")
    flat = WIDTHS[-1] * (shape[1] // 32) * (shape[2] // 32)
    classifier = _classifier(flat, positive("num_classes", num_classes))
    model = nn.Sequential(OrderedDict(features=features, flatten=nn.Flatten(), classifier=classifier))
    return with_input_shape(model, shape)


def _groups(depth: int) -> tuple[int, ...]:
    if depth not in GROUPS:
        raise InputError("architecture.depth", depth, f"allowed: {', '.join(map(str, GROUPS))}")
    return GROUPS[depth]


def _features(groups: tuple[int, ...], channels: int) -> nn.Sequential:
    """All convolutions, with a max pool between two groups and none after the last."""
    layers: list[nn.Module] = []
    for convolutions, width in zip(groups, WIDTHS, strict=True):
        if layers:
            layers.append(nn.MaxPool2d(2))
        for _ in range(convolutions):
            layers += [nn.Conv2d(channels, width, kernel_size=3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
            channels = width
    return nn.Sequential(*layers)


def _classifier(flat: int, num_classes: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for wide_in in (flat, 1024):
        layers += [nn.Linear(wide_in, 1024), nn.ReLU(), nn.Dropout(0.5)]
    layers.append(nn.Linear(1024, num_classes))
    for layer in layers:
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)
    return nn.Sequential(*layers)
