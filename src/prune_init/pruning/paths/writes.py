"""In-place operations on tensors on a path: the result of the rule is written into the same memory."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor

from prune_init.errors import first_line
from prune_init.pruning.operations import lookup
from prune_init.pruning.paths.elements import elementwise
from prune_init.pruning.paths.kinds import Kind, Kinds, UnsupportedOperationError
from prune_init.pruning.structures import leaves


def written(func: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor]:
    """The tensors that a call writes to; `name` is torch's name of the function, with underscores."""
    into = leaves(kwargs.get("out"))
    augmented = name.startswith("__i") and lookup(name[3:]) is not None  # __iadd__, not __invert__
    if name == "__setitem__" or augmented or (name.endswith("_") and not name.endswith("__")):
        return [*into, *leaves((*args[:1], kwargs.get("input")))[:1]]
    position = _position_of_inplace(func)
    asked = kwargs.get("inplace", args[position] if 0 <= position < len(args) else False)
    return [*into, *leaves((*args[:1], kwargs.get("input")))[:1]] if asked is True else into


@cache
def _position_of_inplace(func: Callable[..., Any]) -> int:
    """The position of the argument `inplace` in a function's signature; -1 if it has none."""
    try:
        names = list(inspect.signature(func).parameters)
    except (TypeError, ValueError):
        return -1
    return names.index("inplace") if "inplace" in names else -1


def write(kinds: Kinds, target: Tensor, pattern: Tensor, kind: Kind) -> Tensor:
    """Write `pattern` to `target` and set the kind of everything that shares its memory; returns `target`."""
    _become(kinds, target, kind)
    with _views_that_torch_refuses():
        target.copy_(pattern)
    return target


def write_part(kinds: Kinds, target: Tensor, index: Any, value: Any) -> None:
    """Carry out `target[index] = value`."""
    if kinds.carries(index):
        if kinds.carries(value) or not isinstance(index, Tensor) or index.shape != target.shape:
            raise UnsupportedOperationError("assignment at indices that depend on the input has no rule for paths")
        write(kinds, target, elementwise(kinds, torch.add, target, index), kinds.strongest([target, index]))
        return
    kind = kinds.strongest([target, value])
    pattern = kinds.term(value, kind).to(target.device)
    _become(kinds, target, kind)
    with _views_that_torch_refuses():
        target[index] = pattern.to(target.dtype)


@contextmanager
def _views_that_torch_refuses() -> Iterator[None]:
    """Report views that autograd refuses to write to: one of several results of a call, or made under `no_grad`."""
    try:
        yield
    except RuntimeError as error:
        raise UnsupportedOperationError(f"writing into a view: {first_line(error)}") from error


def _become(kinds: Kinds, target: Tensor, kind: Kind) -> None:
    """Convert a tensor of another kind into a pattern of this kind, before one is written to it."""
    was = kinds.of(target)
    if was is kind:
        return
    if was is None or was >= Kind.WEIGHT or not target.is_floating_point() or target.requires_grad:
        raise UnsupportedOperationError("writing input-dependent values into this tensor has no rule for paths")
    with torch.no_grad():
        whole = torch.empty(0, dtype=target.dtype, device=target.device).set_(target.untyped_storage())
        whole.copy_(whole != 0) if kind is Kind.WEIGHT else whole.zero_()
    kinds.mark(target, kind)
