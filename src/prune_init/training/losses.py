"""Losses for the config group `loss`."""

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F


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
