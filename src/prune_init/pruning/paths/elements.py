"""Operations element by element, norms, and sums along dimensions."""

from collections import namedtuple
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from prune_init.pruning.paths.kinds import Kind, Kinds, UnsupportedOperationError, reached, tensors_in
from prune_init.pruning.paths.products import Rule, product
from prune_init.pruning.structures import mapped

_Pair = namedtuple("_Pair", "values indices")


def elementwise(kinds: Kinds, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Tensor:
    """A path through any operand. A weight is 0 where all that it is made of are, if the function leaves it so."""
    total = kinds.strongest((args, kwargs))
    operands = [x for x in tensors_in((args, kwargs)) if x.ndim or kinds.carries(x)]
    if total is Kind.PATH:
        parts = [kinds.term(x, total) for x in operands]
    else:
        start = mapped(lambda x: torch.zeros_like(x) if kinds.carries(x) else x, (args, kwargs))
        parts = [kinds.factor(x) for x in operands if kinds.carries(x)]
        parts.append(kinds.factor(function(*start[0], **start[1])))
    return reached(sum(parts[1:], parts[0]))


def pointwise(kinds: Kinds, function: Callable[..., Any], name: str, *args: Any, **kwargs: Any) -> Tensor:
    """Each element for itself."""
    if not kinds.carries(args[0]) or kinds.carries((args[1:], kwargs)):
        raise UnsupportedOperationError(f"{name} of several tensors on a path has no rule")
    return args[0].clone() if kinds.of(args[0]) is Kind.PATH else elementwise(kinds, function, *args, **kwargs)


def multiplication(kinds: Kinds, input: Any, other: Any) -> Tensor:
    """Element by element."""
    return product(kinds, torch.mul, [input, other])


def quotient(kinds: Kinds, input: Any, other: Any, **_: Any) -> Tensor:
    """A divisor carries its own paths, and cannot take away those of the dividend."""
    parts = [kinds.factor(x) if kinds.of(x) is Kind.PATH else torch.zeros_like(kinds.factor(x)) for x in (input, other)]
    if not kinds.carries([input, other], Kind.PATH):
        parts[0] = kinds.factor(input)
    device = next(x.device for x in (input, other) if kinds.carries(x))
    return reached(sum(part.to(device) for part in parts))  # type: ignore[arg-type]


def norm(kinds: Kinds, input: Tensor, weight: Any, bias: Any, axis: int | None) -> Tensor:
    """A norm; statistics carry no paths. Its scale and shift stand at `axis`, or else fit the last axes."""

    def placed(x: Tensor) -> Tensor:
        return x if axis is None else x.view(*[1] * axis, -1, *[1] * (input.ndim - axis - 1))

    scaled = input.clone() if weight is None else multiplication(kinds, input, placed(weight))
    shifted = bias is not None and kinds.of(input) is Kind.WEIGHT
    return reached(scaled.float() + kinds.factor(placed(bias))) if shifted else scaled


def _batch_norm(
    kinds: Kinds,
    input: Tensor,
    mean: Any = None,
    var: Any = None,
    weight: Any = None,
    bias: Any = None,
    *_: Any,
    **__: Any,
) -> Tensor:
    return norm(kinds, input, weight, bias, 1)


def _layer_norm(
    kinds: Kinds, input: Tensor, shape: Any, weight: Any = None, bias: Any = None, *_: Any, **__: Any
) -> Tensor:
    return norm(kinds, input, weight, bias, None)


def _rms_norm(kinds: Kinds, input: Tensor, shape: Any, weight: Any = None, *_: Any, **__: Any) -> Tensor:
    return norm(kinds, input, weight, None, None)


def _group_norm(
    kinds: Kinds, input: Tensor, groups: int, weight: Any = None, bias: Any = None, *_: Any, **__: Any
) -> Tensor:
    return norm(kinds, input, weight, bias, 1)


def _dropout(kinds: Kinds, input: Tensor, p: float = 0.5, training: bool = True, *_: Any, **kwargs: Any) -> Tensor:
    """Nothing falls out on a path; torch gives the input itself back where it does nothing."""
    return input.clone() if kwargs.pop("train", training) else input


def reduction(kinds: Kinds, name: str, input: Tensor, *args: Any, **kwargs: Any) -> Any:
    """Paths from all elements along the dimensions that are named, or along all."""
    given = dict(zip(_REDUCED.get(name, "dim keepdim").split(), args, strict=False)) | kwargs
    dim: Any = given.get("dim", given.get("axis"))
    if isinstance(dim, (Tensor, bool)) or (dim is None and name.startswith(("cum", "logcum"))):
        if isinstance(dim, Tensor) and name in ("max", "min"):
            return elementwise(kinds, torch.maximum, input, dim)
        raise UnsupportedOperationError(f"this form of {name} has no rule for paths")
    if name.startswith(("cum", "logcum")):
        result = reached(torch.cumsum(input.float(), dim))
    else:
        dims = None if dim is None or dim == () else dim
        result = reached(input.float().sum(dims, keepdim=bool(given.get("keepdim"))))
    pair = name in ("cummax", "cummin") or (dim is not None and name in ("max", "min", "median"))
    if name in ("var_mean", "std_mean"):
        return result, result.clone()
    return _Pair(result, result.clone()) if pair else result


_REDUCED = {
    **dict.fromkeys(("var", "std", "var_mean", "std_mean"), "dim unbiased keepdim"),
    **dict.fromkeys(("norm", "linalg_norm", "linalg_vector_norm", "vector_norm"), "p dim keepdim"),
}


RULES: dict[str, Rule] = {
    "batch_norm": _batch_norm,
    "instance_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "group_norm": _group_norm,
    "dropout": _dropout,
    "feature_dropout": _dropout,
}
