"""What operations other than products do to paths, each for itself; arguments are named as in torch."""

from collections import namedtuple
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from prune_init.analysis.path_kinds import Kind, Kinds, UnsupportedOperationError, reached, tensors_in
from prune_init.analysis.path_products import Rule, product
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
    **dict.fromkeys(("norm", "linalg_vector_norm", "vector_norm"), "p dim keepdim"),
}


def _cat(kinds: Kinds, tensors: Sequence[Tensor], dim: int = 0, *, axis: int | None = None, join: Any) -> Any:
    total = kinds.strongest(tensors)
    return join([kinds.term(x, total) for x in tensors], dim if axis is None else axis)


def _pad(kinds: Kinds, input: Tensor, pad: Any, mode: str = "constant", value: Any = None) -> Tensor:
    fill = float(bool(value)) if kinds.of(input) is Kind.WEIGHT else 0.0
    return F.pad(input, pad, mode, fill if mode == "constant" else None)


def _where(kinds: Kinds, condition: Tensor, input: Any = None, other: Any = None) -> Tensor:
    if input is None or kinds.of(condition) is Kind.WEIGHT:
        raise UnsupportedOperationError("this form of where has no rule for paths")
    total = kinds.strongest([condition, input, other])
    if kinds.carries(condition, Kind.RANDOM):
        return elementwise(kinds, torch.where, condition, input, other)
    one, two = (kinds.term(x, total).to(condition.device) for x in (input, other))
    return torch.where(condition, one, two)


def _masked_fill(kinds: Kinds, input: Tensor, mask: Tensor, value: Any) -> Tensor:
    return _where(kinds, mask, value, input)


def _embedding(kinds: Kinds, input: Tensor, weight: Tensor, *_: Any, **__: Any) -> Tensor:
    """The input chooses among the rows, so that any of them may be read. Constant indices read their own rows."""
    if not kinds.carries(input, Kind.CHOICE):
        return F.embedding(input, kinds.factor(weight))
    rows = reached(kinds.factor(weight).sum(0))
    return reached(kinds.factor(input).unsqueeze(-1) * rows)


def _one_hot(kinds: Kinds, tensor: Tensor, num_classes: int = -1) -> Tensor:
    if num_classes < 1:
        raise UnsupportedOperationError("one_hot needs num_classes for paths")
    return kinds.factor(tensor).unsqueeze(-1).repeat(*[1] * tensor.ndim, num_classes)


def _index_add(kinds: Kinds, input: Tensor, dim: int, index: Tensor, source: Any, **_: Any) -> Tensor:
    total = kinds.strongest([input, source])
    return reached(torch.index_add(kinds.term(input, total), dim, index, kinds.term(source, total)))


def _scatter_add(kinds: Kinds, input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    total = kinds.strongest([input, src])
    return reached(torch.scatter_add(kinds.term(input, total), dim, index, kinds.term(src, total)))


def _glu(kinds: Kinds, input: Tensor, dim: int = -1) -> Tensor:
    first, gate = input.float().chunk(2, dim)
    return reached(first + gate) if kinds.of(input) is Kind.PATH else first.clone()  # a sigmoid is never 0


def _weighted(kinds: Kinds, input: Tensor, *args: Any, function: Callable[..., Tensor], **kwargs: Any) -> Tensor:
    """Fixed weighted sums, be it of both signs: random factors at both ends, lest terms cancel."""
    draw = torch.Generator().manual_seed(0)

    def scaled(x: Tensor) -> Tensor:
        return x * (1 + torch.rand(x.shape, generator=draw)).to(x.device)

    tiny = 1e-6  # of weights that are not 0, next to the rounding errors of those that are
    return reached(scaled(function(scaled(reached(input.float(), tiny)), *args, **kwargs)), tiny)


def _copy(kinds: Kinds, input: Tensor, source: Any, *_: Any, **__: Any) -> Tensor:
    """What is overwritten leaves nothing behind."""
    return kinds.term(source, kinds.strongest([input, source])).to(input.device).expand(input.shape)


def _alias(kinds: Kinds, input: Tensor, *_: Any) -> Tensor:
    return input.view_as(input)


_WEIGHTED = {
    name.strip("_"): getattr(torch._C._nn, name)
    for name in """upsample_linear1d upsample_bilinear2d upsample_trilinear3d upsample_bicubic2d _upsample_bilinear2d_aa
    _upsample_bicubic2d_aa""".split()
}

RULES: dict[str, Rule] = {
    **dict.fromkeys(("cat", "concat", "concatenate"), lambda *args, **kwargs: _cat(*args, **kwargs, join=torch.cat)),
    "stack": lambda *args, **kwargs: _cat(*args, **kwargs, join=torch.stack),
    **dict.fromkeys(("pad", "constant_pad_nd"), _pad),
    "where": _where,
    "masked_fill": _masked_fill,
    "batch_norm": _batch_norm,
    "instance_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "group_norm": _group_norm,
    "dropout": _dropout,
    "feature_dropout": _dropout,
    "embedding": _embedding,
    "one_hot": _one_hot,
    "index_add": _index_add,
    "scatter_add": _scatter_add,
    "gather": lambda kinds, input, dim, index, **_: torch.gather(input, dim, index),
    "glu": _glu,
    "col2im": lambda kinds, *args: reached(torch._C._nn.col2im(*args)),
    "copy": _copy,
    "fill": _copy,
    "zero": lambda kinds, input: _copy(kinds, input, 0),
    **dict.fromkeys(("detach", "data"), _alias),
}
RULES |= {name: partial(_weighted, function=function) for name, function in _WEIGHTED.items()}
