"""The kind of each tensor while paths are followed: on a path, computed from weights, or constant."""

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from enum import IntEnum
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils.weak import WeakTensorKeyDictionary

from prune_init.pruning.structures import leaves

NOT_KNOWN = "the effect of {} on paths is not known"


class UnsupportedOperationError(NotImplementedError):
    """Raised if the net uses an operation whose effect on paths is not known; the message names it."""


class Kind(IntEnum):
    """What a tensor holds while paths are followed; of several operands the largest kind determines the result's.

    CONSTANT: its true values, which depend on neither input nor prunable weights: parameters, buffers and tensors
        made in forward.
    RANDOM: random numbers or values computed from them, such as the mask of a layer that is skipped at random.
    CHOICE: its true values, which depend on integers or booleans of the input: token ids, masks of padding. Paths
        begin where they choose the rows of an embedding, are multiplied by weights, or join values on a path.
    WEIGHT: computed from prunable weights but not from the input: 1 where the value may differ from 0, else 0.
    PATH: 1 where some path from the input arrives, else 0.
    """

    CONSTANT = 0
    RANDOM = 1
    CHOICE = 2
    WEIGHT = 3
    PATH = 4


class _Reached(torch.autograd.Function):
    """1 where |x| is above a threshold, else 0, in both passes: no overflow, and no paths from rounding errors."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, above: float) -> Tensor:
        ctx.above = above
        return (x.abs() > above).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return (grads[0].abs() > ctx.above).to(grads[0].dtype), None


_apply: Callable[..., Tensor] = _Reached.apply  # saved here, as `functions_shown` replaces `Function.apply` later


def reached(x: Tensor, above: float = 0.5) -> Tensor:
    """1 where x, a sum of zeros and ones, is not 0, else 0; a threshold, as zeros may carry rounding errors on GPUs."""
    return _apply(x, above)


def never_zero(x: Tensor) -> Tensor:
    """1 everywhere, with the gradient of x: for a factor that depends on x but is not 0 where x is, such as exp(x)."""
    return reached(x + 1)


class Kinds:
    """The kind of each tensor, stored by memory: writing to a view also changes the kind of the whole tensor."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[StorageWeakRef, Kind]] = {}  # a weak reference keeps the address from being reused
        self._values = WeakTensorKeyDictionary()  # for a tensor on a path: its version, and how to compute `nonzero`
        self._shifts: Counter[int] = Counter()  # by memory: how often constants were added that no version tells of

    def mark(self, result: Any, kind: Kind) -> Any:
        """Set the kind of all tensors in `result`, and return it."""
        for tensor in leaves(result):
            storage = tensor.untyped_storage()
            self._known[storage._cdata] = StorageWeakRef(storage), kind
        return result

    def of(self, value: Any) -> Kind | None:
        """The kind of a tensor; None for other values and for tensors that were not made while paths are followed."""
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
        """The largest kind among the tensors in `values`; CONSTANT if none is known."""
        return max((kind for t in leaves(values) if (kind := self.of(t)) is not None), default=Kind.CONSTANT)

    def carries(self, value: Any, kind: Kind = Kind.WEIGHT) -> bool:
        """Whether one of the tensors in `value` is at least of this kind."""
        return self.strongest(value) >= kind

    def check_fixed(self, indices: Any, name: str) -> None:
        """Refuse indices that depend on values on a path or on weights, such as that of a largest value."""
        if self.carries(indices):
            raise UnsupportedOperationError(NOT_KNOWN.format(f"{name} at indices that depend on the input"))

    def factor(self, value: Any) -> Tensor:
        """`value` as a factor: 1 where it may differ from 0, which random numbers and choices may do everywhere."""
        if not isinstance(value, Tensor):
            return torch.tensor(float(value != 0))
        if self.of(value) in (Kind.RANDOM, Kind.CHOICE):
            return torch.ones(value.shape, device=value.device)
        return value.float() if self.carries(value) else (value.detach() != 0).float()

    def term(self, value: Any, total: Kind) -> Tensor:
        """`value` as a term: a sum of kind PATH counts only paths, one of kind WEIGHT all that may differ from 0."""
        factor = self.factor(value)
        counts = total is Kind.WEIGHT or self.of(value) in (Kind.CHOICE, Kind.PATH)
        return factor if counts else torch.zeros_like(factor)

    def nonzero(self, value: Any) -> Tensor:
        """1 where `value` may differ from 0, on a path or as a constant; on a path, 1 where that is not known."""
        if self.of(value) is not Kind.PATH:
            return self.factor(value).detach()
        found = torch.ones_like(value, dtype=torch.float32, requires_grad=False)
        version, compute = self._values.get(value, (None, None))
        if compute is None or version != self._version(value):  # written to since
            return found
        with suppress(RecursionError):  # a long chain of operations of which none was asked before
            found = reached(compute().detach().float())
        self._values[value] = version, lambda: found
        return found

    def computes(self, result: Tensor, nonzero: Callable[[], Tensor]) -> Tensor:
        """Note how `nonzero` of a result on a path is computed, if it is asked for; return the result."""
        self._values[result] = self._version(result), nonzero
        return result

    def repeated(self, value: Tensor, times: int, dim: int) -> Tensor:
        """Each slice along `dim` several times, with what is known of it."""
        result = value.repeat_interleave(times, dim)
        if (kind := self.of(value)) is not None:
            self.computes(self.mark(result, kind), lambda: self.nonzero(value).repeat_interleave(times, dim))
        return result

    def shift(self, value: Tensor) -> None:
        """Note that a constant was added in place, which leaves the pattern as it is."""
        self._shifts[value.untyped_storage()._cdata] += 1

    def _version(self, value: Tensor) -> tuple[int, int]:
        return value._version, self._shifts[value.untyped_storage()._cdata]
