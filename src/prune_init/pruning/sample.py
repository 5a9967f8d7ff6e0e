"""The pruning sample: (input, target) batches, the default loss, and what a loss may answer."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prune_init.errors import InputError, first_line
from prune_init.pruning.structures import leaves, mapped, together

Batch = tuple[Any, Any]
"""Input and target: tensors, or tuples, lists and dicts of them."""

Loss = Callable[[Any, Any], Tensor]
"""From what the net returned and the target to the mean loss of the batch."""


def read(data: Any, like: Tensor, loss: Loss) -> list[Batch]:
    """All batches of `data`, on the device of `like` and, where they are floating-point inputs, in its dtype.

    Raises:
        InputError: no iterable, no batch, or something that is no batch.
    """
    if data is None:
        raise InputError("data", None, "this scorer needs an iterable of (input, target) batches")
    if not isinstance(data, Iterable):
        raise InputError("data", type(data).__name__, "allowed: an iterable of (input, target) batches")
    batches = [_moved(pair, like, loss) for pair in data]
    if not batches:
        raise InputError("data", "[]", "this scorer needs at least one (input, target) batch")
    if not sum(weight(batch, loss) for batch in batches):
        raise InputError("data", f"labels that are all {ignored(loss)}", "allowed: at least one label that counts")
    return batches


def _moved(pair: Any, like: Tensor, loss: Loss) -> Batch:
    match pair:
        case [x, y] if leaves(x):
            pass
        case _:
            raise InputError(
                "data", type(pair).__name__, "allowed: (input, target) pairs of tensors, or of structures of tensors"
            )
    check_inputs("data", x)
    if ignored(loss) is not None:
        _check_lengths(x, y)
    # Token ids and other integer inputs stay integers.
    return to(x, like), mapped(lambda t: t.to(like.device), y)


def ignored(loss: Loss) -> int | None:
    """The label that does not count, of torch's own cross-entropy; None for losses of which that is not known."""
    if isinstance(loss, partial):
        return int(loss.keywords.get("ignore_index", -100)) if loss.func is F.cross_entropy and not loss.args else None
    if isinstance(loss, nn.CrossEntropyLoss):
        return loss.ignore_index
    return -100 if loss is F.cross_entropy else None


def to(x: Any, like: Tensor) -> Any:
    """The structure on the device of `like`, its floating-point tensors in its dtype."""
    return mapped(lambda t: t.to(like.device, like.dtype if t.is_floating_point() else t.dtype), x)


def size(x: Any) -> int:
    """The number of examples in a batch of inputs."""
    return len(leaves(x)[0])


def check_inputs(key: str, x: Any) -> None:
    """Refuse what is no batch of a net's input."""
    tensors = leaves(x)
    if not tensors:
        raise InputError(key, type(x).__name__, "allowed: a batch of the net's input, tensors or a structure of them")
    if any(t.ndim == 0 or t.numel() == 0 for t in tensors):
        given = " and ".join(str(tuple(t.shape)) for t in tensors)
        raise InputError(key, f"inputs of {given}", "allowed: batches of at least one example, with one target each")


def _check_lengths(x: Any, y: Any) -> None:
    if not isinstance(y, Tensor) or y.ndim == 0 or len(y) != size(x):
        shapes = [" and ".join(str(tuple(t.shape)) for t in leaves(part)) for part in (x, y)]
        given = f"inputs of {shapes[0]} and targets of {shapes[1]}"
        raise InputError("data", given, "allowed: batches of at least one example, with one target each")


def weight(batch: Batch, loss: Loss) -> int:
    """How much the mean loss of a batch counts in that of the sample: its examples, or its labels that count."""
    x, y = batch
    label = ignored(loss)
    if label is not None and not y.is_floating_point():
        return int((y != label).sum())
    return size(x)


def loss_of(loss: Loss, output: Any, y: Any) -> Tensor:
    """The loss of a batch.

    Raises:
        InputError: labels that the default loss cannot take, or a loss that fails or gives no number.
    """
    label = ignored(loss)
    if label is not None:
        _check_labels(output, y, label)
    try:
        found = loss(output, mapped(Tensor.clone, y))  # some losses write to their targets
    except (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError) as error:
        given, made = (_described(part) for part in (y, output))
        why = f"the loss fails: {first_line(error)} (outputs of {made})"
        raise InputError("data", f"targets of {given}", why) from error
    if not isinstance(found, Tensor) or found.numel() != 1 or (_differentiable(output) and not found.requires_grad):
        raise InputError("loss", loss, "must return one number for a batch, which depends on the output")
    return found.reshape(())


def _check_labels(output: Any, y: Tensor, label: int) -> None:
    """Class labels beyond the outputs would end a process on a GPU; say so here instead."""
    if isinstance(output, Tensor) and not y.is_floating_point() and output.ndim == y.ndim + 1:
        counted = y[y != label]
        low, high = int(counted.min()), int(counted.max())
        if low < 0 or high >= output.shape[1]:
            allowed = f"allowed: 0..{output.shape[1] - 1}, the net's outputs, or {label} for none"
            raise InputError("data", f"labels {low}..{high}", allowed)


def _differentiable(output: Any) -> bool:
    """Whether what the net returned depends on its weights, as far as autograd knows."""
    return any(t.requires_grad for t in leaves(output))


def _described(structure: Any) -> str:
    tensors = leaves(structure)
    return " and ".join(f"{tuple(t.shape)}, {t.dtype}" for t in tensors) or type(structure).__name__


def as_ones(x: Any) -> Any:
    """An input like x of ones; integers, such as token ids, and booleans stay as they are."""
    return mapped(lambda t: torch.ones_like(t) if t.is_floating_point() else t, x)


def joined(batches: Sequence[Batch]) -> Batch:
    """All batches in one.

    Raises:
        InputError: they hold something that is not there once for each example.
    """
    for batch in batches:
        if any(t.ndim == 0 or len(t) != size(batch[0]) for t in leaves(batch)):
            why = "this scorer splits the sample anew; allowed: tensors with one entry for each example"
            raise InputError("data", _described(batch), why)
    try:
        found: Batch = together(torch.cat, [tuple(batch) for batch in batches])
    except (ValueError, RuntimeError) as error:
        why = f"this scorer joins all batches, which differ ({first_line(error)}); allowed: one batch"
        raise InputError("data", _described(batches[0]), why) from None
    return found


def picked(x: Any, index: Tensor) -> Any:
    """The examples at these indices."""
    return mapped(lambda t: t[index], x)
