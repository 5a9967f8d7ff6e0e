"""The loss of a batch: which labels count in it and how much, and checks of targets and of what the loss returns."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prune_init.errors import InputError, ModelError, first_line
from prune_init.pruning.structures import described, leaves, mapped, outputs, size

Loss = Callable[[Any, Any], Tensor]
"""Maps the net's output and the target to the mean loss of the batch."""


def cross_entropy(
    logits: Tensor, labels: Tensor, *, weights: Sequence[float] | None = None, label_smoothing: float = 0.0
) -> Tensor:
    """Mean cross-entropy whose class weights follow the logits' device and dtype, which scoring may change.

    Args:
        logits: (B, C).
        labels: int64 (B).
        weights: a weight for each of the C classes, used in the mean over the batch.
        label_smoothing: the fraction of each label that is distributed among all classes, 0 to 1.
    """
    weight = None if weights is None else logits.new_tensor(list(weights))
    return F.cross_entropy(logits, labels, weight, label_smoothing=label_smoothing)


def _arguments(loss: Loss) -> Mapping[str, Any] | None:
    """The arguments of a loss over class labels, torch's or the one above; None for all other losses."""
    if isinstance(loss, (nn.CrossEntropyLoss, nn.NLLLoss)):
        return {"weight": loss.weight, "ignore_index": loss.ignore_index, "reduction": loss.reduction}
    function, keywords = (loss.func, loss.keywords) if isinstance(loss, partial) and not loss.args else (loss, {})
    return keywords if function in (F.cross_entropy, F.nll_loss, cross_entropy) else None


def ignored(loss: Loss) -> int | None:
    """The label that a loss over class labels ignores; None for losses for which it is not known."""
    given = _arguments(loss)
    return None if given is None else int(given.get("ignore_index", -100))


def weight_of(loss: Loss, x: Any, y: Any) -> float:
    """The weight of a batch in the mean over several: the number of labels that count, or the sum of their weights.

    For a loss that is not known, it is the number of examples.
    """
    given = _arguments(loss)
    if given is None or y.is_floating_point():
        return size(x)
    counted = y[y != ignored(loss)]
    weights = given.get("weight", given.get("weights"))
    if weights is None:
        return counted.numel()
    each = torch.as_tensor(weights, dtype=torch.float64).cpu()
    return float(each[counted.cpu().clamp(0, len(each) - 1)].sum())  # `loss_of` refuses labels out of range


def loss_of(loss: Loss, output: Any, y: Any) -> Tensor:
    """The loss of a batch.

    Raises:
        InputError: labels that the default loss cannot take, or a loss that fails or does not return one number
            that depends on the output.
    """
    label = ignored(loss)
    if label is not None:
        _check_labels(output, y, label)
    if (_arguments(loss) or {}).get("reduction", "mean") == "sum":
        raise InputError("loss", loss, "allowed: the mean over the batch, reduction='mean'")
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
