"""Loss and accuracies of an epoch, added up on the device."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


class Tally(nn.Module):
    """Sums over the examples of an epoch, without waiting for the device at any step.

    Args:
        top: for each k whether the label is among the k highest outputs; more outputs than there are count as all.
    """

    sums: Tensor

    def __init__(self, top: Iterable[int]) -> None:
        super().__init__()
        self._top = tuple(top)
        self.register_buffer("sums", torch.zeros(2 + len(self._top), dtype=torch.float64), persistent=False)

    @torch.no_grad()
    def add(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Count one batch, `loss` being its mean."""
        best = logits.topk(min(max(self._top), logits.shape[1]), dim=1).indices
        hits = (best == labels[:, None]).sum(0).cumsum(0)
        counted = [loss * len(labels), *(hits[min(k, len(hits)) - 1] for k in self._top)]
        self.sums[:-1] += torch.stack([value.to(self.sums.dtype) for value in counted])
        self.sums[-1] += len(labels)

    def take(self) -> Tensor:
        """The sums of losses and hits, and last the number of examples; begins anew."""
        sums = self.sums.clone()
        self.sums.zero_()
        return sums
