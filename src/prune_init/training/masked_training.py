"""A Lightning module whose net stays masked, whatever optimisers, callbacks and strategies do."""

from collections.abc import Iterator
from typing import Any, cast

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from prune_init.training.mask_buffers import MaskBuffers


class MaskedTraining(pl.LightningModule):
    """Gradients are masked before clipping and weights after each step: as if masked in the forward pass.

    Args:
        net: the network; its `state_dict` stays its own.
        masks: of its prunable weights.
    """

    def __init__(self, net: nn.Module, masks: MaskBuffers) -> None:
        super().__init__()
        self.net, self.masks = net, masks
        self.upkeep = masks  # those of the net that is trained

    def forward(self, x: Tensor) -> Tensor:
        """The net's output."""
        return self.net(x)

    def on_fit_start(self) -> None:
        """Train in train mode, Lightning keeping the mode that it finds; and with the same masks on every rank."""
        self.net.train()
        if self.trainer.world_size > 1:
            sums = cast(Tensor, self.all_gather(self.masks.checksum()))
            if not torch.equal(sums, sums[:1].expand_as(sums)):
                raise RuntimeError(f"ranks hold different masks; checksums by rank: {sums.tolist()}")

    def on_validation_epoch_start(self) -> None:
        """Test a masked net, also where a callback has put other weights in place for the time of the test."""
        self.upkeep.factors.clear_weights()

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Mask gradients; Lightning clips after this."""
        self.upkeep.factors.clear_gradients()

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, then re-apply the masks."""
        super().optimizer_step(*args, **kwargs)
        self.upkeep.factors.clear_weights()

    def on_train_end(self) -> None:
        """Leave a masked net, whatever weights a callback has put in place at the end."""
        self.upkeep.factors.clear_weights()

    @property
    def _ddp_params_and_buffers_to_ignore(self) -> list[str]:
        """DDP's own name for what it leaves alone: it would send all masks before every forward pass.

        The net's buffers it sends, as published: the statistics of batch norm are those of the first process.
        """
        return [name for name, _ in self.named_buffers() if not name.startswith("net.")]

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """The net's. Averages of the module's state are taken over these; masks have no average."""
        return self.net.buffers(recurse)
