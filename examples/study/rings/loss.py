"""A loss for training, and for scorers that use one."""

from torch import Tensor
from torch.nn import functional as F


def focal(logits: Tensor, labels: Tensor, *, gamma: float) -> Tensor:
    """Focal loss: cross-entropy with less weight on examples that are already right (Lin et al. 2017); batch mean."""
    losses = F.cross_entropy(logits, labels, reduction="none")
    return ((1 - (-losses).exp()) ** gamma * losses).mean()
