"""The loss of a batch: which labels count in it, and checks of targets and of what the loss returns."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prune_init.errors import InputError, ModelError, first_line
from prune_init.pruning.structures import described, leaves, mapped, outputs

Loss = Callable[[Any, Any], Tensor]
"""Maps the net's output and the target to the mean loss of the batch."""


def ignored(loss: Loss) -> int | None:
    """The label that torch's cross-entropy ignores; None for all other losses, for which it is not known."""
    if isinstance(loss, partial):
        return int(loss.keywords.get("ignore_index", -100)) if loss.func is F.cross_entropy and not loss.args else None
    if isinstance(loss, nn.CrossEntropyLoss):
        return loss.ignore_index
    return -100 if loss is F.cross_entropy else None


def loss_of(loss: Loss, output: Any, y: Any) -> Tensor:
    """The loss of a batch.

    Raises:
        InputError: labels that the default loss cannot take, or a loss that fails or does not return one number
            that depends on the output.
    """
    label = ignored(loss)
    if label is not None:
        _check_labels(output, y, label)
    try:
        found = loss(output, mapped(Tensor.clone, y))  # cloned, as some losses write to their targets
    except (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError) as error:
        why = f"the loss fails: {first_line(error)} (outputs of {described(output)})"
        raise InputError("data", f"targets of {described(y)}", why) from error
    differentiable = any(t.requires_grad for t in leaves(output))
    if not isinstance(found, Tensor) or found.numel() != 1 or (differentiable and not found.requires_grad):
        raise InputError("loss", loss, "must return one number for a batch, which depends on the output")
    return found.reshape(())


def summed(model: nn.Module, output: Any) -> Tensor:
    """The sum over all floating-point tensors of an output.

    Raises:
        InputError: `model` returned no such tensor.
    """
    sums = [tensor.sum() for tensor in outputs(output)]
    if not sums:
        raise ModelError(model, "returns no floating-point tensor to score by")
    return torch.stack(sums).sum()


def _check_labels(output: Any, y: Tensor, label: int) -> None:
    """Refuse class labels beyond the net's outputs, which on a GPU would end the process."""
    if isinstance(output, Tensor) and not y.is_floating_point() and output.ndim == y.ndim + 1:
        counted = y[y != label]
        classes = output.shape[1]
        low, high = int(counted.min()), int(counted.max())
        if low < 0 or high >= classes:
            allowed = f"allowed: 0..{classes - 1} (the net has {classes} outputs), or {label} to ignore an example"
            raise InputError("data", f"labels {low}..{high}", allowed)
