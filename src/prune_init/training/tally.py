"""Loss and accuracies of an epoch, added up on the device."""

from collections.abc import Sequence

import torch
from pytorch_lightning.strategies import Strategy
from torch import Tensor

from prune_init.host import with_float64


class Tally:
    """Sums over the examples of an epoch, without waiting for the device at any step.

    No module and no buffers: those are converted to the precision of training, and DDP would replace each process's
    sums by those of the first one before every forward pass. Integers up to 2^53 are exact in the sums' float64, and up
    to 2^24 on a device that has none.

    Args:
        top: for each k whether the label is among the k highest outputs; more outputs than there are count as all.
    """

    def __init__(self, top: Sequence[int]) -> None:
        self.top = top
        self._sums: Tensor | None = None  # made where the first batch is

    @torch.no_grad()
    def add(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Count one batch, `loss` being its mean."""
        best = logits.topk(min(max(self.top), logits.shape[1]), dim=1).indices
        hits = (best == labels[:, None]).sum(0).cumsum(0)
        sums = self._on(logits.device)
        counted = [loss.to(sums.dtype) * len(labels), *(hits[min(k, len(hits)) - 1] for k in self.top)]
        sums[:-1] += torch.stack([value.to(sums.dtype) for value in counted])
        sums[-1] += len(labels)

    def take(self, device: torch.device) -> Tensor:
        """Sums of losses and hits, and last the number of examples, on `device` if there are none; resets the tally."""
        sums, self._sums = self._on(device), None
        return sums

    def _on(self, device: torch.device) -> Tensor:
        if self._sums is None:
            dtype = torch.float64 if with_float64(device).type == device.type else torch.float32
            self._sums = torch.zeros(2 + len(self.top), dtype=dtype, device=device)
        return self._sums


def means(tally: Tally, stage: str, strategy: Strategy) -> dict[str, Tensor]:
    """The means of an epoch over all ranks, `stage/loss`, `stage/top1`, ...; resets the tally."""
    sums = strategy.reduce(tally.take(strategy.root_device), reduce_op="sum")
    names = ["loss", *(f"top{k}" for k in tally.top)]
    return {f"{stage}/{name}": mean for name, mean in zip(names, (sums[:-1] / sums[-1]).float(), strict=True)}
