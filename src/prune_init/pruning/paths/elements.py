"""Path rules for elementwise operations, norm layers and reductions."""

from collections import namedtuple
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from prune_init.pruning.behaviour import Paths
from prune_init.pruning.operations import lookup, name_of, named_arguments, plain
from prune_init.pruning.paths.kinds import Kind, Kinds, UnsupportedOperationError, reached
from prune_init.pruning.paths.products import Rule, multiplication
from prune_init.pruning.structures import leaves, mapped

_Pair = namedtuple("_Pair", "values indices")


def elementwise(kinds: Kinds, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Tensor:
    """A path leads through any operand. A result of weights alone is 0 where all are and the function maps 0 to 0."""
    total = kinds.strongest((args, kwargs))
    operands = [x for x in leaves((args, kwargs)) if x.ndim or kinds.carries(x)]
    if total is Kind.PATH:
        parts = [kinds.term(x, total) for x in operands]
    else:
        start = mapped(lambda x: torch.zeros_like(x) if kinds.carries(x) else x, (args, kwargs))
        parts = [kinds.factor(x) for x in operands if kinds.carries(x)]
        parts.append(kinds.factor(function(*start[0], **start[1])))
    return reached(sum(parts[1:], parts[0]))


def _pointwise(kinds: Kinds, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Tensor:
    if not kinds.carries(args[0]) or kinds.carries((args[1:], kwargs)):
        raise UnsupportedOperationError(f"{plain(name_of(function))} of several tensors on a path has no rule")
    if kinds.of(args[0]) is not Kind.PATH:
        return elementwise(kinds, function, *args, **kwargs)
    input = args[0]

    def nonzero() -> Tensor:
        at_zero = function(torch.zeros_like(input), *args[1:], **kwargs)
        return kinds.nonzero(input) + kinds.factor(at_zero)

    return kinds.computes(input.clone(), nonzero)


def _softmax(kinds: Kinds, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Tensor:
    """A function of each element, but constant along a dimension of a single one."""
    result = _pointwise(kinds, function, *args, **kwargs)
    dim = kwargs.get("dim", args[1] if len(args) > 1 else None)
    single = kinds.of(args[0]) is Kind.PATH and dim is not None and args[0].shape[dim] == 1
    return args[0] * 0 if single else result


def _dropout(
    kinds: Kinds, function: Any, input: Tensor, p: float = 0.5, training: bool = True, *args: Any, **kwargs: Any
) -> Tensor:
    """Dropout interrupts no path. Outside training the input itself is returned, as torch does."""
    return _pointwise(kinds, function, input, p, training, *args, **kwargs) if kwargs.get("train", training) else input


def _norm(kinds: Kinds, func: Any, *args: Any, **kwargs: Any) -> Tensor:
    """A norm layer: statistics carry no paths. Scale and shift belong to the channel axis, or match the last axes."""
    given = named_arguments(func, args, kwargs)
    input, weight, bias = given["input"], given.get("weight"), given.get("bias")
    centred = getattr(lookup(func), "paths", None) is not Paths.RMS_NORM
    if kinds.of(input) is Kind.WEIGHT and centred:
        why = "subtracts their mean, so pruned weights are not 0 in the layer that uses them"
        raise UnsupportedOperationError(f"{plain(name_of(func))} of weights {why}")

    def placed(x: Tensor) -> Tensor:
        return x if "normalized_shape" in given else x.view(-1, *[1] * (input.ndim - 2))

    scaled = input.clone() if weight is None else multiplication(kinds, None, input, placed(weight))
    if kinds.of(input) is not Kind.WEIGHT:
        return scaled.clone() if centred or bias is not None else scaled  # constants may be added: `nonzero` is unknown
    if bias is None:
        return scaled
    return reached(scaled.float() + kinds.factor(placed(bias)))


def _bound(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, bool]:
    """The dimensions that a call reduces, None for all of them, and whether it keeps them with length 1."""
    given = named_arguments(func, args, kwargs)
    dim = given.get("dim", given.get("axis"))
    if isinstance(dim, (Tensor, bool)):
        raise UnsupportedOperationError(f"this form of {plain(name_of(func))} has no rule for paths")
    return (None if dim == () else dim), bool(given.get("keepdim"))


def _reduction(kinds: Kinds, func: Any, input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Paths lead from all elements along the reduced dimensions."""
    dim, keepdim = _bound(func, args, kwargs)
    return reached(input.float().sum(dim, keepdim=keepdim))


def _extreme(kinds: Kinds, func: Any, input: Tensor, *args: Any, **kwargs: Any) -> Any:
    if any(isinstance(value, Tensor) for value in (*args, *kwargs.values())):
        return elementwise(kinds, func, input, *args, **kwargs)
    result = _reduction(kinds, func, input, *args, **kwargs)
    return result if _bound(func, args, kwargs)[0] is None else _Pair(result, result.clone())


def _moments(kinds: Kinds, func: Any, input: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
    result = _reduction(kinds, func, input, *args, **kwargs)
    return result, result.clone()


def _cumulation(kinds: Kinds, func: Any, input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    return reached(torch.cumsum(input.float(), _bound(func, args, kwargs)[0]))


def _cumulative_extreme(kinds: Kinds, func: Any, input: Tensor, *args: Any, **kwargs: Any) -> _Pair:
    result = _cumulation(kinds, func, input, *args, **kwargs)
    return _Pair(result, result.clone())


RULES: dict[Paths, Rule] = {
    Paths.POINTWISE: _pointwise,
    Paths.SOFTMAX: _softmax,
    Paths.DROPOUT: _dropout,
    Paths.UNION: elementwise,
    Paths.PRODUCT: multiplication,
    Paths.REDUCTION: _reduction,
    Paths.EXTREME: _extreme,
    Paths.MOMENTS: _moments,
    Paths.CUMULATION: _cumulation,
    Paths.CUMULATIVE_EXTREME: _cumulative_extreme,
    Paths.BATCH_NORM: _norm,
    Paths.LAYER_NORM: _norm,
    Paths.RMS_NORM: _norm,
    Paths.GROUP_NORM: _norm,
}
