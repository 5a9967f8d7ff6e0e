"""A Lightning module whose net stays masked with any optimiser, callback or strategy."""

from collections.abc import Iterator
from typing import Any, cast

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from prune_init.training.mask_buffers import MaskBuffers


class MaskedTraining(pl.LightningModule):
    """Masks gradients before clipping and weights after each step, with the effect of masks in the forward pass.

    Args:
        net: the network; its `state_dict` does not change.
        masks: the masks of its prunable weights.
    """

    def __init__(self, net: nn.Module, masks: MaskBuffers) -> None:
        super().__init__()
        self.net, self.masks = net, masks
        self.upkeep = masks  # the masks of the net that is trained

    def forward(self, x: Tensor) -> Tensor:
        """The output of the net."""
        return self.net(x)

    def on_fit_start(self) -> None:
        """Set train mode, since Lightning keeps the mode it finds, and check that all ranks have the same masks."""
        self.net.train()
        if self.trainer.world_size > 1:
            sums = cast(Tensor, self.all_gather(self.masks.checksum()))
            if not torch.equal(sums, sums[:1].expand_as(sums)):
                raise RuntimeError(f"ranks hold different masks; checksums by rank: {sums.tolist()}")

    def on_validation_epoch_start(self) -> None:
        """Apply the masks before a test, because a callback may have put other weights in place for it."""
        self.upkeep.factors.clear_weights()

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Mask the gradients; Lightning clips them after this."""
        self.upkeep.factors.clear_gradients()

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, then re-apply the masks."""
        super().optimizer_step(*args, **kwargs)
        self.upkeep.factors.clear_weights()

    def on_train_end(self) -> None:
        """Apply the masks at the end, because a callback may have put other weights in place."""
        self.upkeep.factors.clear_weights()

    @property
    def _ddp_params_and_buffers_to_ignore(self) -> list[str]:
        """Buffers that DDP ignores, under the name that it looks up: it would send all masks before every forward pass.

        DDP still sends the net's own buffers, as published: all ranks use the first one's batch norm statistics.
        """
        return [name for name, _ in self.named_buffers() if not name.startswith("net.")]

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """The buffers of the net alone, because callbacks average all buffers of a module and masks have no average."""
        return self.net.buffers(recurse)
