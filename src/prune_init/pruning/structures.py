"""Inputs and outputs of a net: a tensor, or a tuple, list, dict or dataclass of tensors, nested to any depth."""

import copy
import dataclasses
import inspect
from collections.abc import Callable, Mapping, MutableMapping
from math import inf, isfinite
from typing import Any

import torch
from torch import Tensor, nn


def arguments(model: nn.Module, x: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The positional and keyword arguments with which `model` is called on x.

    A tuple or list gives the positional arguments and a mapping the keyword arguments, if the signature of
    `model.forward` accepts them. Otherwise, and for anything else, x is the only argument.
    """
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}
    if isinstance(x, (tuple, list)):
        args = tuple(x)
    elif isinstance(x, Mapping) and all(isinstance(key, str) for key in x):
        kwargs = dict(x)
    else:
        return (x,), {}
    try:
        inspect.signature(model.forward).bind(*args, **kwargs)
    except (TypeError, ValueError):  # the arguments do not fit, or forward has no signature
        return (x,), {}
    return args, kwargs


def leaves(x: Any) -> list[Tensor]:
    """The tensors of a structure, in order."""
    return [x] if isinstance(x, Tensor) else [leaf for _, part in _parts(x) for leaf in leaves(part)]


def size(x: Any) -> int:
    """The number of examples in a batch of inputs."""
    return len(leaves(x)[0])


def outputs(x: Any) -> list[Tensor]:
    """The floating-point tensors in what a net returned."""
    return [leaf for leaf in leaves(x) if leaf.is_floating_point()]


def mapped(function: Callable[[Tensor], Any], x: Any) -> Any:
    """A structure of the same types as x, with `function` applied to each tensor; other values are kept."""
    return function(x) if isinstance(x, Tensor) else _rebuilt(x, [mapped(function, part) for _, part in _parts(x)])


def shapes(x: Any) -> str:
    """The shapes of the tensors in a structure, as text."""
    return " and ".join(str(tuple(t.shape)) for t in leaves(x))


def described(x: Any) -> str:
    """The shapes and dtypes of the tensors in a structure, as text; the name of its type if it has no tensors."""
    return " and ".join(f"{tuple(t.shape)}, {t.dtype}" for t in leaves(x)) or type(x).__name__


@torch.no_grad()
def difference(expected: Any, found: Any) -> float:
    """The largest difference between tensors, relative to the largest finite number in the expected one.

    It is infinite if shapes differ, or the places that are infinite or NaN.
    """
    some, others = ([x.cpu().to(torch.complex128) for x in leaves(structure)] for structure in (expected, found))
    if [x.shape for x in some] != [x.shape for x in others]:
        return inf
    gaps = [0.0]
    for one, other in zip(some, others, strict=True):
        differ = (one != other) & ~(one.isnan() & other.isnan())
        if differ.any():
            largest = one.abs().where(one.isfinite(), 0).max()
            gap = float((one - other)[differ].abs().max() / largest)
            gaps.append(gap if isfinite(gap) else inf)
    return max(gaps)


def together(function: Callable[[list[Tensor]], Tensor], structures: list[Any]) -> Any:
    """Combine equal structures into one, applying `function` to the list of tensors at each place.

    Raises:
        ValueError: the structures, or values in them that are not tensors, differ.
    """
    first, *others = structures
    if isinstance(first, Tensor) and all(isinstance(other, Tensor) for other in others):
        return function(structures)
    parts = [_parts(structure) for structure in structures]
    if len({(type(s), tuple(key for key, _ in p)) for s, p in zip(structures, parts, strict=True)}) > 1:
        raise ValueError("structures differ")
    if not parts[0] and any(other != first for other in others):
        raise ValueError("values differ")
    return _rebuilt(first, [together(function, [p[k][1] for p in parts]) for k in range(len(parts[0]))])


def _parts(x: Any) -> list[tuple[Any, Any]]:
    if isinstance(x, Mapping):
        return list(x.items())
    if isinstance(x, (tuple, list)):
        return list(enumerate(x))
    if dataclasses.is_dataclass(x) and not isinstance(x, type):
        return [(field.name, getattr(x, field.name)) for field in dataclasses.fields(x)]
    return []


def _rebuilt(x: Any, parts: list[Any]) -> Any:
    """A structure like x with these parts in place of its own; x itself if it has no parts."""
    if isinstance(x, MutableMapping):
        new = copy.copy(x)
        for key, part in zip(list(x), parts, strict=True):  # `update` is refused by outputs of transformers
            new[key] = part
        return new
    if isinstance(x, Mapping):
        return dict(zip(x, parts, strict=True))
    if isinstance(x, (tuple, list)):
        return type(x)(*parts) if hasattr(x, "_fields") else type(x)(parts)
    if parts:
        new = copy.copy(x)
        for (name, _), part in zip(_parts(x), parts, strict=True):
            object.__setattr__(new, name, part)  # works for frozen dataclasses too
        return new
    return x
