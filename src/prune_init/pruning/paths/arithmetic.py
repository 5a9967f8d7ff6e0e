"""Path rules for sums, interpolations and quotients of two operands, one of which may count less than the other."""

from typing import Any

import torch
from torch import Tensor

from prune_init.pruning.behaviour import Paths
from prune_init.pruning.paths.elements import elementwise
from prune_init.pruning.paths.kinds import Kind, Kinds, never_zero
from prune_init.pruning.paths.products import Rule, in_order, multiplication


def _sum(kinds: Kinds, func: Any, input: Any, other: Any, **named: Any) -> Tensor:
    """A sum or difference; `alpha=0` removes the second operand, for `rsub` the first."""
    if is_zero(named.get("alpha", 1)):
        kept, removed = in_order(func, input, other)
        input, other = in_order(func, kept, without(kinds, removed))
    found = elementwise(kinds, func, input, other, **named)
    if isinstance(input, Tensor) and isinstance(other, Tensor):
        kinds.computes(found, lambda: kinds.nonzero(input) + kinds.nonzero(other))
    return found


def _lerp(kinds: Kinds, func: Any, input: Tensor, end: Tensor, weight: Any) -> Tensor:
    """input + weight (end - input): a weight of 0 removes `end`, and 1 removes `input`."""
    if is_zero(weight):
        end = without(kinds, end)
    elif not isinstance(weight, Tensor) and is_zero(1 - weight):
        input = without(kinds, input)
    return elementwise(kinds, func, input, end, weight)


def is_zero(factor: Any) -> bool:
    """Whether a factor given as a number is 0."""
    return not isinstance(factor, Tensor) and factor == 0


def without(kinds: Kinds, operand: Any) -> Any:
    """Zeros of the kind of an operand that is multiplied by 0."""
    if not isinstance(operand, Tensor):
        return 0
    zeros = torch.zeros_like(operand)
    return kinds.mark(zeros, kinds.strongest(operand)) if kinds.carries(operand) else zeros


def _quotient(kinds: Kinds, func: Any, input: Any, other: Any, **_: Any) -> Tensor:
    """The product with the inverse of the divisor, which is never 0; paths lead through both.

    A divisor that is computed from the same weights as the dividend is a statistic, such as their norm: no paths.
    """
    dividend, divisor = in_order(func, input, other)
    if not isinstance(divisor, Tensor):
        divisor = 1.0
    elif kinds.of(divisor) is Kind.PATH:
        divisor = kinds.mark(divisor.clone(), Kind.PATH)  # of which `nonzero` knows nothing
    else:
        factor, kind = kinds.factor(divisor), kinds.strongest(divisor)
        statistic = kind is Kind.WEIGHT and not _sources(factor).isdisjoint(_sources(dividend))
        divisor = kinds.mark(never_zero(factor.detach() if statistic else factor), kind)
    return multiplication(kinds, None, dividend, divisor)


def _sources(x: Any) -> set[Tensor]:
    """The weights, and inputs, that a pattern is computed from."""
    nodes: list[Any] = [x.grad_fn] if isinstance(x, Tensor) else []
    seen, found = set(nodes), set()
    while nodes:
        node = nodes.pop()
        if hasattr(node, "variable"):
            found.add(node.variable)
        more = {function for function, _ in getattr(node, "next_functions", ()) if function is not None} - seen
        nodes += more
        seen |= more
    return found


RULES: dict[Paths, Rule] = {
    Paths.SUM: _sum,
    Paths.LERP: _lerp,
    Paths.QUOTIENT: _quotient,
}
