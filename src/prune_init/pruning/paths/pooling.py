"""Pooling: a path from every element of a window."""

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from prune_init.pruning.paths.kinds import Kinds, UnsupportedOperationError, reached
from prune_init.pruning.paths.products import Rule


def _window_sums(axes: int) -> Rule:
    """What average pooling, max pooling and pooling by a power have in common."""
    average = getattr(F, f"avg_pool{axes}d")

    def rule(kinds: Kinds, input: Tensor, kernel_size: Any, stride: Any, padding: Any, ceil_mode: bool) -> Tensor:
        size = math.prod(kernel_size) if isinstance(kernel_size, (tuple, list)) else kernel_size**axes
        return reached(size * average(input.float(), kernel_size, stride, padding, ceil_mode))

    return rule


def _avg_pool(axes: int) -> Rule:
    pool = _window_sums(axes)

    def rule(
        kinds: Kinds,
        input: Tensor,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        *_: Any,
        **__: Any,
    ) -> Tensor:
        return pool(kinds, input, kernel_size, stride, padding, ceil_mode)

    return rule


def _max_pool(axes: int) -> Rule:
    pool = _window_sums(axes)

    def rule(
        kinds: Kinds,
        input: Tensor,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> Tensor:
        if dilation not in (1, (1,) * axes, [1] * axes) or return_indices:
            raise UnsupportedOperationError("max pooling with dilation or indices has no rule for paths")
        return pool(kinds, input, kernel_size, stride or None, padding, ceil_mode)

    return rule


def _adaptive(axes: int) -> Rule:
    average: Callable[..., Tensor] = getattr(F, f"adaptive_avg_pool{axes}d")

    def rule(kinds: Kinds, input: Tensor, output_size: Any, return_indices: bool = False) -> Tensor:
        if return_indices:
            raise UnsupportedOperationError("max pooling with indices has no rule for paths")
        # Windows of different sizes: multiplied by more than the largest, no sum of ones is less than 1.
        return reached(math.prod(input.shape[-axes:]) * average(input.float(), output_size))

    return rule


RULES: dict[str, Rule] = {}
for _axes in (1, 2, 3):
    RULES[f"avg_pool{_axes}d"] = _avg_pool(_axes)
    RULES[f"max_pool{_axes}d"] = _max_pool(_axes)
    RULES[f"adaptive_avg_pool{_axes}d"] = RULES[f"adaptive_max_pool{_axes}d"] = _adaptive(_axes)
