"""The losses that conf/loss names."""

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F


def cross_entropy(
    logits: Tensor, labels: Tensor, *, weights: Sequence[float] | None = None, label_smoothing: float = 0.0
) -> Tensor:
    """Mean cross-entropy, on any device and in any type, which scoring may change.

    Args:
        logits: (B, C).
        labels: int64 (B).
        weights: of the C classes; the mean over the batch is weighted with them.
        label_smoothing: the part of each label that is shared out among all classes, 0 to 1.
    """
    weight = None if weights is None else logits.new_tensor(list(weights))
    return F.cross_entropy(logits, labels, weight, label_smoothing=label_smoothing)
