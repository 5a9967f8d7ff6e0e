"""The data a net is scored on: the pruning sample of (input, target) batches, or an all-ones input."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from prune_init.errors import InputError, first_line
from prune_init.pruning.loss import Loss, ignored, weight_of
from prune_init.pruning.structures import described, leaves, mapped, shapes, size, together

Batch = tuple[Any, Any]
"""Input and target: tensors, or (nested) tuples, lists and dicts of tensors."""


@dataclass(frozen=True)
class Sample:
    """The batches and the all-ones input, each created on first access: a scorer that needs no data never reads any.

    Attributes:
        data: an iterable of (input, target) batches.
        loss: the loss computed on each batch.
        input_shape: (C, H, W) of one example, if known.
        example: a batch of the model's input, if given: tensors in any structure.
        device: where all tensors are moved.
        dtype: the type that floating-point inputs are converted to.
    """

    data: Iterable[Batch] | None
    loss: Loss
    input_shape: Sequence[int] | None
    example: Any
    device: torch.device
    dtype: torch.dtype

    @cached_property
    def batches(self) -> list[Batch]:
        """All batches of the data.

        Raises:
            InputError: `data` is not an iterable of batches, is empty, or has only ignored labels.
        """
        if self.data is None:
            raise InputError("data", None, "this scorer needs an iterable of (input, target) batches")
        if not isinstance(self.data, Iterable):
            raise InputError("data", type(self.data).__name__, "allowed: an iterable of (input, target) batches")
        batches = [self._batch(pair) for pair in self.data]
        if not batches:
            raise InputError("data", "[]", "this scorer needs at least one (input, target) batch")
        if not any(weight_of(self.loss, x, y) for x, y in batches):
            labels = f"labels that are all {ignored(self.loss)}"
            raise InputError("data", labels, "allowed: at least one label that is not ignored")
        return batches

    @cached_property
    def ones(self) -> Any:
        """Ones of shape (1, C, H, W), or the example with floating-point tensors set to ones, integers as they are."""
        if self.example is None and self.input_shape is None:
            why = "this scorer needs (C, H, W), the shape of one example, or example_input"
            raise InputError("input_shape", None, why)
        example = torch.empty(1, *(self.input_shape or ())) if self.example is None else self.example
        return mapped(lambda t: torch.ones_like(t) if t.is_floating_point() else t, self._moved(example))

    def shares(self) -> Iterator[tuple[Batch, float]]:
        """Each batch with its weight in the mean loss over the whole sample; batches of weight 0 are left out."""
        weights = [weight_of(self.loss, x, y) for x, y in self.batches]
        return ((batch, w / sum(weights)) for batch, w in zip(self.batches, weights, strict=True) if w)

    def is_ones(self, x: Any) -> bool:
        """Whether `x` is the object that `ones` returned."""
        return x is vars(self).get("ones", self)

    def origin(self, x: Any) -> tuple[str, Any]:
        """The argument of `prune` that the input `x` comes from, and how to show its value in an error message."""
        made = vars(self)  # holds the cached properties that were accessed so far
        if "ones" not in made or any(x is inputs for inputs, _ in made.get("batches", ())):
            return "data", f"inputs of {shapes(x)}"
        return ("input_shape", self.input_shape) if self.example is None else ("example_input", type(x).__name__)

    def _batch(self, pair: Any) -> Batch:
        match pair:
            case [x, y] if leaves(x):
                pass
            case _:
                allowed = "allowed: (input, target) pairs of tensors, or of structures of tensors"
                raise InputError("data", type(pair).__name__, allowed)
        check_inputs("data", x)
        if ignored(self.loss) is not None and (not isinstance(y, Tensor) or y.ndim == 0 or len(y) != size(x)):
            given = f"inputs of {shapes(x)} and targets of {shapes(y)}"
            raise InputError("data", given, "allowed: batches of at least one example, with one target each")
        return self._moved(x), mapped(lambda t: t.to(self.device), y)

    def _moved(self, x: Any) -> Any:
        """`x` on the device, floating-point tensors in `dtype`; new objects, since inputs are counted by identity."""
        return mapped(lambda t: t.detach().to(self.device, self.dtype if t.is_floating_point() else t.dtype), x)


def check_inputs(key: str, x: Any) -> None:
    """Raise an InputError unless `x` is a non-empty batch of a net's input."""
    tensors = leaves(x)
    if not tensors:
        raise InputError(key, type(x).__name__, "allowed: a batch of the net's input, tensors or a structure of them")
    if any(t.ndim == 0 or t.numel() == 0 for t in tensors):
        raise InputError(key, f"inputs of {shapes(x)}", "allowed: batches of at least one example")


def joined(batches: Sequence[Batch]) -> Batch:
    """All batches concatenated into one.

    Raises:
        InputError: a tensor does not have one entry per example, or the batches differ in structure or shape.
    """
    for batch in batches:
        if any(t.ndim == 0 or len(t) != size(batch[0]) for t in leaves(batch)):
            why = "this scorer regroups the examples; allowed: tensors with one entry per example"
            raise InputError("data", described(batch), why)
    try:
        found: Batch = together(torch.cat, [tuple(batch) for batch in batches])
    except (ValueError, RuntimeError) as error:
        why = f"this scorer joins all batches, which differ ({first_line(error)}); allowed: one batch"
        raise InputError("data", described(batches[0]), why) from None
    return found


def picked(x: Any, index: Tensor) -> Any:
    """The examples of `x` at these indices."""
    return mapped(lambda t: t[index], x)
