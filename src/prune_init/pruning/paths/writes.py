"""In-place operations on tensors on a path: the result of the rule is written into the same memory."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from prune_init.errors import first_line
from prune_init.pruning import operations
from prune_init.pruning.paths.elements import elementwise
from prune_init.pruning.paths.kinds import Kind, Kinds, UnsupportedOperationError
from prune_init.pruning.structures import leaves


def written(func: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor]:
    """The tensors that a call writes to; `name` is torch's name of the function, with underscores."""
    return [leaf for argument in operations.written(func, name, args, kwargs) for leaf in leaves(argument)]


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
