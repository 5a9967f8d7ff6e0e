"""Loss and accuracies of an epoch, summed on the device."""

from collections.abc import Sequence

import torch
from pytorch_lightning.strategies import Strategy
from torch import Tensor

from prune_init.host import with_float64


class Tally:
    """Sums of loss and hits over the examples of an epoch, computed without synchronising with the device.

    This is not a module with buffers, because buffers are converted to the precision of training, and before every
    forward pass DDP would replace each process's sums by those of the first one. The sums are float64, exact for
    integers up to 2^53, or float32 on a device without float64, exact up to 2^24.

    Args:
        top: the values of k; a hit is a label among the k highest outputs. A k above the number of outputs means all.
    """

    def __init__(self, top: Sequence[int]) -> None:
        self.top = top
        self._sums: Tensor | None = None  # created on the device of the first batch

    @torch.no_grad()
    def add(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Add one batch; `loss` is its mean."""
        best = logits.topk(min(max(self.top), logits.shape[1]), dim=1).indices
        hits = (best == labels[:, None]).sum(0).cumsum(0)
        sums = self._on(logits.device)
        counted = [loss.to(sums.dtype) * len(labels), *(hits[min(k, len(hits)) - 1] for k in self.top)]
        sums[:-1] += torch.stack([value.to(sums.dtype) for value in counted])
        sums[-1] += len(labels)

    def take(self, device: torch.device) -> Tensor:
        """The sums of losses and hits, then the number of examples; resets the tally. An empty one is on `device`."""
        sums, self._sums = self._on(device), None
        return sums

    def _on(self, device: torch.device) -> Tensor:
        if self._sums is None:
            dtype = torch.float64 if with_float64(device).type == device.type else torch.float32
            self._sums = torch.zeros(2 + len(self.top), dtype=dtype, device=device)
        return self._sums


def means(tally: Tally, stage: str, strategy: Strategy) -> dict[str, Tensor]:
    """The means of an epoch over all ranks, as `stage/loss`, `stage/top1`, ...; resets the tally."""
    sums = strategy.reduce(tally.take(strategy.root_device), reduce_op="sum")
    names = ["loss", *(f"top{k}" for k in tally.top)]
    return {f"{stage}/{name}": mean for name, mean in zip(names, (sums[:-1] / sums[-1]).float(), strict=True)}
