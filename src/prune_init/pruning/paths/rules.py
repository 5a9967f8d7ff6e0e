"""Path rules for concatenation, padding, indexing, copying and others; arguments are named as in torch."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from prune_init.pruning.behaviour import Paths
from prune_init.pruning.operations import name_of, plain
from prune_init.pruning.paths.arithmetic import is_zero, without
from prune_init.pruning.paths.kinds import Kind, Kinds, UnsupportedOperationError, never_zero, reached
from prune_init.pruning.paths.products import Rule


def _concat(kinds: Kinds, func: Any, tensors: Sequence[Tensor], dim: int = 0, *, axis: int | None = None) -> Tensor:
    total = kinds.strongest(tensors)
    joined: Tensor = func([kinds.term(x, total) for x in tensors], dim if axis is None else axis)
    return joined


def _pad(kinds: Kinds, func: Any, input: Tensor, pad: Any, mode: str = "constant", value: Any = None) -> Tensor:
    fill = float(bool(value)) if kinds.of(input) is Kind.WEIGHT else 0.0
    return F.pad(input, pad, mode, fill if mode == "constant" else None)


def _where(kinds: Kinds, func: Any, *args: Any, **kwargs: Any) -> Tensor:
    names = ("input", "condition", "other") if func is Tensor.where else ("condition", "input", "other")
    given = dict(zip(names, args, strict=False)) | kwargs
    if len(given) < 3:
        raise UnsupportedOperationError("this form of where has no rule for paths")
    return _chosen(kinds, given["condition"], given["input"], given["other"])


def _chosen(kinds: Kinds, condition: Tensor, input: Any, other: Any) -> Tensor:
    """`input` where the condition holds, else `other`; either, if the condition is not a constant."""
    if kinds.of(condition) is Kind.WEIGHT:
        raise UnsupportedOperationError("where under a condition that depends on weights has no rule for paths")
    total = kinds.strongest([condition, input, other])
    one, two = (kinds.term(x, total).to(condition.device) for x in (input, other))
    if not kinds.carries(condition, Kind.RANDOM):
        return torch.where(condition, one, two)
    both = one + two + torch.zeros(condition.shape, device=condition.device)
    return reached(both + kinds.factor(condition) if kinds.of(condition) is Kind.PATH else both)


def _masked_fill(kinds: Kinds, func: Any, input: Tensor, mask: Tensor, value: Any) -> Tensor:
    return _chosen(kinds, mask, value, input)


def _embedding(kinds: Kinds, func: Any, input: Tensor, weight: Tensor, *_: Any, **__: Any) -> Tensor:
    """If the input chooses the rows, any of them may be read; constant indices read just their own rows."""
    if not kinds.carries(input, Kind.CHOICE):
        return F.embedding(input, kinds.factor(weight))
    rows = reached(kinds.factor(weight).sum(0))
    return reached(kinds.factor(input).unsqueeze(-1) * rows)


def _gather(kinds: Kinds, func: Any, input: Tensor, dim: int, index: Tensor, **_: Any) -> Tensor:
    kinds.check_fixed(index, plain(name_of(func)))
    return torch.gather(input, dim, index)


def _one_hot(kinds: Kinds, func: Any, tensor: Tensor, num_classes: int = -1) -> Tensor:
    if num_classes < 1:
        raise UnsupportedOperationError("one_hot needs num_classes for paths")
    return kinds.factor(tensor).unsqueeze(-1).repeat(*[1] * tensor.ndim, num_classes)


def _index_add(
    kinds: Kinds, func: Any, input: Tensor, dim: int, index: Tensor, source: Any, *, alpha: Any = 1
) -> Tensor:
    kinds.check_fixed(index, plain(name_of(func)))
    total = kinds.strongest([input, source])
    added = kinds.term(without(kinds, source) if is_zero(alpha) else source, total)
    return reached(torch.index_add(kinds.term(input, total), dim, index, added))


def _scatter_add(kinds: Kinds, func: Any, input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    kinds.check_fixed(index, plain(name_of(func)))
    total = kinds.strongest([input, src])
    return reached(torch.scatter_add(kinds.term(input, total), dim, index, kinds.term(src, total)))


def _glu(kinds: Kinds, func: Any, input: Tensor, dim: int = -1) -> Tensor:
    first, gate = input.float().chunk(2, dim)
    if kinds.of(input) is not Kind.PATH:
        return first * never_zero(gate)  # as a sigmoid is
    value = kinds.nonzero(input).chunk(2, dim)[0]
    return kinds.computes(reached(first + value * gate), lambda: value)


def _weighted_sum(kinds: Kinds, func: Any, input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Sums with fixed weights, such as interpolation: random factors on both sides keep terms from cancelling."""
    draw = torch.Generator().manual_seed(0)

    def scaled(x: Tensor) -> Tensor:
        return x * (1 + torch.rand(x.shape, generator=draw)).to(x.device)

    tiny = 1e-6  # a threshold between the smallest sums that are not 0 and the rounding errors of those that are
    return reached(scaled(func(scaled(reached(input.float(), tiny)), *args, **kwargs)), tiny)


def _copy(kinds: Kinds, func: Any, input: Tensor, source: Any, *_: Any, **__: Any) -> Tensor:
    """The pattern of the source alone, as the input is overwritten."""
    return kinds.term(source, kinds.strongest([input, source])).to(input.device).expand(input.shape)


def _alias(kinds: Kinds, func: Any, input: Tensor, *_: Any) -> Tensor:
    return input.view_as(input)


RULES: dict[Paths, Rule] = {
    Paths.CONCAT: _concat,
    Paths.PAD: _pad,
    Paths.WHERE: _where,
    Paths.MASKED_FILL: _masked_fill,
    Paths.EMBEDDING: _embedding,
    Paths.ONE_HOT: _one_hot,
    Paths.INDEX_ADD: _index_add,
    Paths.SCATTER_ADD: _scatter_add,
    Paths.GATHER: _gather,
    Paths.GLU: _glu,
    Paths.FOLD: lambda kinds, func, *args: reached(func(*args)),
    Paths.COPY: _copy,
    Paths.ZERO: lambda kinds, func, input: _copy(kinds, func, input, 0),
    Paths.ALIAS: _alias,
    Paths.WEIGHTED_SUM: _weighted_sum,
}
