"""Path rules for pooling: a path leads from every element of a window."""

import math
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from prune_init.pruning.behaviour import Paths, window_axes
from prune_init.pruning.operations import name_of, named_arguments
from prune_init.pruning.paths.kinds import Kinds, UnsupportedOperationError, reached
from prune_init.pruning.paths.products import Rule


def _axes(func: Any) -> int:
    """The number of spatial axes, such as 2 for `max_pool2d`."""
    axes = window_axes(name_of(func))
    assert axes is not None
    return axes


def _window_pool(kinds: Kinds, func: Any, *args: Any, **kwargs: Any) -> Tensor:
    """Average and maximum pooling: 1 where the average of zeros and ones over the window is not 0."""
    given, axes = named_arguments(func, args, kwargs), _axes(func)
    if given.get("dilation", 1) not in (1, (1,) * axes, [1] * axes) or given.get("return_indices"):
        raise UnsupportedOperationError("max pooling with dilation or indices has no rule for paths")
    kernel = given["kernel_size"]
    size = math.prod(kernel) if isinstance(kernel, (tuple, list)) else kernel**axes
    where = (kernel, given.get("stride") or None, given.get("padding", 0), given.get("ceil_mode", False))
    return reached(size * getattr(F, f"avg_pool{axes}d")(given["input"].float(), *where))


def _adaptive_pool(kinds: Kinds, func: Any, input: Tensor, output_size: Any, return_indices: bool = False) -> Tensor:
    if return_indices:
        raise UnsupportedOperationError("max pooling with indices has no rule for paths")
    axes = _axes(func)
    average = getattr(F, f"adaptive_avg_pool{axes}d")
    # Window sizes differ: times the number of all elements, an average with at least one 1 in it is at least 1.
    return reached(math.prod(input.shape[-axes:]) * average(input.float(), output_size))


RULES: dict[Paths, Rule] = {
    Paths.AVERAGE_POOL: _window_pool,
    Paths.MAX_POOL: _window_pool,
    Paths.ADAPTIVE_POOL: _adaptive_pool,
}
