"""Networks by the names that conf/architecture gives them, for code that does not use Hydra."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from torch import nn

from prune_init.architectures.conv import conv
from prune_init.architectures.mlp import mlp
from prune_init.architectures.resnet import resnet, thin_resnet, wide_resnet
from prune_init.architectures.vgg import vgg, vgg_tiny
from prune_init.errors import InputError, one_of

NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "mlp": mlp,
    "conv": conv,
    **{f"vgg{depth}": partial(vgg, depth) for depth in (11, 13, 16, 19)},
    **{f"vgg{depth}_tiny": partial(vgg_tiny, depth) for depth in (11, 16)},
    **{f"resnet{depth}": partial(resnet, depth) for depth in (18, 34, 50)},
    **{f"resnet{depth}": partial(thin_resnet, depth) for depth in (20, 32, 56)},
    "wide_resnet18": partial(wide_resnet, 18),
}


def named(name: str, num_classes: int, input_shape: Sequence[int], **options: Any) -> nn.Module:
    """Build the network of this name for images of `input_shape`, (C, H, W).

    Raises:
        InputError: there is no such network, or it cannot be built with these arguments.
    """
    if name not in NETWORKS:
        raise InputError("architecture", name, one_of(name, NETWORKS))
    return NETWORKS[name](num_classes=num_classes, input_shape=input_shape, **options)
