"""Pooling: a path from every element of a window."""

import math
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from prune_init.pruning.operations import Paths, name_of
from prune_init.pruning.paths.kinds import Kinds, UnsupportedOperationError, reached
from prune_init.pruning.paths.products import Rule


def _axes(func: Any) -> int:
    """2 of `max_pool2d`."""
    return int(name_of(func)[-2])


def _average_pool(
    kinds: Kinds,
    func: Any,
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    *_: Any,
    **__: Any,
) -> Tensor:
    axes = _axes(func)
    size = math.prod(kernel_size) if isinstance(kernel_size, (tuple, list)) else kernel_size**axes
    average = getattr(F, f"avg_pool{axes}d")
    return reached(size * average(input.float(), kernel_size, stride or None, padding, ceil_mode))


def _max_pool(
    kinds: Kinds,
    func: Any,
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor:
    axes = _axes(func)
    if dilation not in (1, (1,) * axes, [1] * axes) or return_indices:
        raise UnsupportedOperationError("max pooling with dilation or indices has no rule for paths")
    return _average_pool(kinds, func, input, kernel_size, stride, padding, ceil_mode)


def _adaptive_pool(kinds: Kinds, func: Any, input: Tensor, output_size: Any, return_indices: bool = False) -> Tensor:
    if return_indices:
        raise UnsupportedOperationError("max pooling with indices has no rule for paths")
    axes = _axes(func)
    average = getattr(F, f"adaptive_avg_pool{axes}d")
    # Windows of different sizes: multiplied by more than the largest, no sum of ones is less than 1.
    return reached(math.prod(input.shape[-axes:]) * average(input.float(), output_size))


RULES: dict[Paths, Rule] = {
    Paths.AVERAGE_POOL: _average_pool,
    Paths.MAX_POOL: _max_pool,
    Paths.ADAPTIVE_POOL: _adaptive_pool,
}
