"""Which tensors a path leads through: those that depend on the input, and those that weights are made into."""

from collections.abc import Callable
from enum import IntEnum
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from prune_init.pruning.structures import leaves


class UnsupportedOperationError(NotImplementedError):
    """The net uses an operation whose effect on paths is not known; it is named, not guessed at."""


class Kind(IntEnum):
    """What a tensor holds while paths are followed; the larger one prevails.

    CONSTANT: its true values, which depend on neither input nor prunable weights; made by the net's forward.
    RANDOM: values drawn at random, or made of such: the mask of a layer that is skipped at times.
    CHOICE: its true values, which depend on integers or booleans of the input: token ids, masks of padding. Paths
        begin only where they choose the rows of an embedding, or are multiplied by weights.
    WEIGHT: 1 where a tensor that is computed from prunable weights, and from no input, may be other than 0.
    PATH: 1 where some path from the input arrives.
    """

    CONSTANT = 0
    RANDOM = 1
    CHOICE = 2
    WEIGHT = 3
    PATH = 4


class _Reached(torch.autograd.Function):
    """1 where not 0, forwards and backwards: nothing overflows, and no rounding makes a path."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, above: float) -> Tensor:
        ctx.above = above
        return (x.abs() > above).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return (grads[0].abs() > ctx.above).to(grads[0].dtype), None


_apply: Callable[..., Tensor] = _Reached.apply  # autograd functions of the net are replaced while it is followed


def reached(x: Tensor, above: float = 0.5) -> Tensor:
    """1 where x, a sum of zeros and ones, is not 0. On GPUs a convolution's zero may be a rounding error."""
    return _apply(x, above)


class Kinds:
    """The kind of each tensor. Tensors that share memory have one kind, so that writing to a view tells the whole."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[StorageWeakRef, Kind]] = {}  # a weak reference keeps the address from being reused

    def mark(self, result: Any, kind: Kind) -> Any:
        """Note the kind of all tensors in what an operation returned."""
        for tensor in leaves(result):
            storage = tensor.untyped_storage()
            self._known[storage._cdata] = StorageWeakRef(storage), kind
        return result

    def of(self, value: Any) -> Kind | None:
        """The kind of a tensor; None of what is no tensor or was made elsewhere."""
        if not isinstance(value, Tensor):
            return None
        if value.layout is not torch.strided:
            raise UnsupportedOperationError(f"paths cannot be followed through {value.layout} tensors")
        found = self._known.get(value.untyped_storage()._cdata)
        if found is None and value.requires_grad and not value.is_leaf:
            raise UnsupportedOperationError(
                "a tensor comes from code that cannot be followed, such as a scripted module"
            )
        return None if found is None else found[1]

    def strongest(self, values: Any) -> Kind:
        """PATH if there is one among the tensors in `values`, else WEIGHT if there is one."""
        return max((kind for t in leaves(values) if (kind := self.of(t)) is not None), default=Kind.CONSTANT)

    def carries(self, value: Any, kind: Kind = Kind.WEIGHT) -> bool:
        """Whether one of the tensors in `value` is at least of this kind."""
        return self.strongest(value) >= kind

    def factor(self, value: Any) -> Tensor:
        """What multiplies: 1 where it is not 0. A constant has its own zeros; draws and choices may be others."""
        if not isinstance(value, Tensor):
            return torch.tensor(float(value != 0))
        if self.of(value) in (Kind.RANDOM, Kind.CHOICE):
            return torch.ones(value.shape, device=value.device)
        return value.float() if self.carries(value) else (value.detach() != 0).float()

    def term(self, value: Any, total: Kind) -> Tensor:
        """What is added: a constant begins no path, but can make a weight other than 0."""
        factor = self.factor(value)
        return factor if total is Kind.WEIGHT or self.of(value) is Kind.PATH else torch.zeros_like(factor)
