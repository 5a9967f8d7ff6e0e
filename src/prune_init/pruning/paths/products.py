"""Path rules for products: a path through one factor continues where all other factors may differ from 0.

Another factor that depends on the input may do so where no path reaches it: it can have a constant value there, such as
a gate's bias or a uniform softmax. `Kinds.nonzero` knows where it is 0.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from prune_init.pruning.behaviour import Paths
from prune_init.pruning.operations import name_of, plain
from prune_init.pruning.paths.kinds import Kind, Kinds, UnsupportedOperationError, never_zero, reached

Rule = Callable[..., Any]
"""Maps the `Kinds`, a torch function and its arguments to the pattern of its result."""


def product(kinds: Kinds, function: Callable[..., Tensor], factors: list[Any], bias: Any = None) -> Tensor:
    """Paths through `function`, which is linear in each of the factors, and through a bias that is added."""
    total = kinds.strongest(factors)
    if function is not torch.mul and any(kinds.of(x) is Kind.CHOICE for x in factors):
        total = Kind.PATH  # a path begins here
    patterns = [kinds.factor(x) for x in factors]
    on_path = [i for i, x in enumerate(factors) if kinds.of(x) is Kind.PATH]
    device = next(x for x in factors if kinds.carries(x)).device
    patterns = [pattern.to(device) if pattern.ndim == 0 else pattern for pattern in patterns]
    terms = []
    for i in on_path or [-1]:
        others = (kinds.nonzero(factors[j]) if j in on_path and j != i else x for j, x in enumerate(patterns))
        terms.append(function(*others))
    if bias is not None and (total is Kind.WEIGHT or kinds.of(bias) is Kind.PATH):
        terms.append(kinds.factor(bias))
    found = reached(sum(terms[1:], terms[0]))
    if bias is None and total is Kind.PATH:
        kinds.computes(found, lambda: function(*(kinds.nonzero(x).to(found.device) for x in factors)))
    return found


def in_order(func: Callable[..., Any], first: Any, second: Any) -> tuple[Any, Any]:
    """The operands of a function in mathematical order, which is reversed for `__rmatmul__` and the like."""
    return (second, first) if plain(name_of(func)).startswith("r") else (first, second)


def multiplication(kinds: Kinds, func: Any, input: Any, other: Any) -> Tensor:
    """The elementwise product."""
    return product(kinds, torch.mul, [input, other])


def _matmul(kinds: Kinds, func: Any, input: Tensor, other: Tensor) -> Tensor:
    return product(kinds, torch.matmul, list(in_order(func, input, other)))


def _linear(kinds: Kinds, func: Any, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return product(kinds, F.linear, [input, weight], bias)


def _convolution(
    kinds: Kinds, func: Any, input: Tensor, weight: Tensor, bias: Tensor | None = None, *args: Any, **kwargs: Any
) -> Tensor:
    if bias is not None:
        bias = bias.view(-1, *[1] * (weight.ndim - 2))
    return product(kinds, lambda x, w: func(x, w, None, *args, **kwargs), [input, weight], bias)


def _bilinear(
    kinds: Kinds, func: Any, input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    return product(kinds, F.bilinear, [input1, input2, weight], bias)


def _einsum(kinds: Kinds, func: Any, equation: Any, *operands: Any) -> Tensor:
    if not isinstance(equation, str):
        raise UnsupportedOperationError("einsum without an equation in letters has no rule for paths")
    given = list(operands[0]) if len(operands) == 1 and isinstance(operands[0], (list, tuple)) else list(operands)
    return product(kinds, lambda *factors: torch.einsum(equation, *factors), given)


def _added(multiply: Callable[..., Tensor]) -> Rule:
    """The rule of beta * input + alpha * multiply(first, second), as in `addmm`; a factor of 0 removes its term."""

    def rule(
        kinds: Kinds, func: Any, input: Tensor, *given: Any, beta: Any = 1, alpha: Any = 1, value: Any = 1, **named: Any
    ) -> Tensor:
        factors = [*given, *(named[name] for name in sorted(named))]  # mat1 and mat2, mat and vec, batch1 and batch2
        if len(factors) != 2:
            raise UnsupportedOperationError("this form of a product and a sum has no rule for paths")
        scale = float(alpha != 0 and value != 0)
        total = kinds.strongest([input, *factors])
        parts = [kinds.term(input, total) * float(beta != 0)]
        if kinds.strongest(factors) >= total:
            parts.append(product(kinds, lambda a, b: multiply(a, b) * scale, factors))
        elif total is Kind.WEIGHT:
            parts.append(multiply(*map(kinds.factor, factors)) * scale)
        else:
            parts.append(torch.zeros_like(multiply(*(kinds.factor(x).detach() for x in factors))))
        return reached(parts[0] + parts[1])

    return rule


def _attention(
    kinds: Kinds,
    func: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: Any = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Attention: each output token depends on the values that the mask lets it attend to, on its query and their keys.

    Query and keys only matter if there are several keys, and if the values differ between tokens. Values that depend on
    the input always count as different: where no path reaches them they may be constants that differ, by position.
    """
    if enable_gqa:
        key, value = (kinds.repeated(x, query.shape[-3] // x.shape[-3], -3) for x in (key, value))
    seen = torch.ones(query.shape[-2], key.shape[-2], device=query.device)
    if is_causal:
        seen = seen.tril()
    if attn_mask is not None and not kinds.carries(attn_mask, Kind.RANDOM):
        allowed = attn_mask if attn_mask.dtype == torch.bool else attn_mask > float("-inf")
        seen = seen * allowed.float()
    terms = []
    moving = kinds.of(value) is Kind.PATH
    if kinds.carries([query, key]):
        scores = product(kinds, torch.matmul, [query, key.transpose(-2, -1)])
        if kinds.carries([query, key], Kind.PATH):
            several = seen * (seen.sum(-1, keepdim=True) > 1)  # a softmax over one key is 1
            terms.append((scores * several) @ kinds.nonzero(value))
        else:
            seen = never_zero(scores) * seen  # as a softmax is
    if moving or not terms:
        terms.append(seen @ kinds.factor(value))
    return reached(sum(terms[1:], terms[0]))


def _tensordot(kinds: Kinds, func: Any, a: Tensor, b: Tensor, dims: Any = 2) -> Tensor:
    return product(kinds, lambda x, y: torch.tensordot(x, y, dims), [a, b])


RULES: dict[Paths, Rule] = {
    Paths.LINEAR: _linear,
    Paths.CONVOLUTION: _convolution,
    Paths.TRANSPOSED_CONVOLUTION: _convolution,
    Paths.BILINEAR: _bilinear,
    Paths.EINSUM: _einsum,
    Paths.TENSORDOT: _tensordot,
    Paths.MATMUL: _matmul,
    Paths.OUTER: lambda kinds, func, input, vec2: product(kinds, torch.outer, [input, vec2]),
    Paths.MATMUL_ADDED: _added(torch.matmul),
    Paths.PRODUCT_ADDED: _added(torch.mul),
    Paths.ATTENTION: _attention,
}
