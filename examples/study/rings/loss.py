"""A loss: of training, and of scorers that take one."""

from torch import Tensor
from torch.nn import functional as F


def focal(logits: Tensor, labels: Tensor, *, gamma: float) -> Tensor:
    """Cross-entropy that counts less what is right already (Lin et al. 2017); the mean over the batch."""
    losses = F.cross_entropy(logits, labels, reduction="none")
    return ((1 - (-losses).exp()) ** gamma * losses).mean()
