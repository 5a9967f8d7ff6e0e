"""The Lightning module: prune at initialisation, then train with the masks kept."""

import copy
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self, cast

import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn import functional as F

from prune_init.compaction.compact import expand
from prune_init.pruning.loss import Loss
from prune_init.pruning.result import PruneResult
from prune_init.pruning.sample import Batch
from prune_init.pruning.weights import Patterns, prunable
from prune_init.training.compacted import compacted, savings
from prune_init.training.mask_buffers import MaskBuffers
from prune_init.training.masked_training import MaskedTraining
from prune_init.training.tally import Tally, means

STAGES = ("test", "validation")
"""The data of the validation loaders, in their order."""


class PruneThenTrain(MaskedTraining):
    """A Lightning module that prunes a net at initialisation and then trains it.

    It prunes in `setup("fit")`, before anything else has changed the weights and before DDP wraps the net. Masks and,
    by DDP's first broadcast, weights are those of rank 0. A run resumed from a checkpoint takes masks and `pruning`
    from there and does not prune again. A compact net trains the same way with less work.

    Args:
        net: the network; its `state_dict` does not change.
        prune: maps (net, data=batches) to a `PruneResult`: `prune_init.prune` with all other arguments bound.
        sample: makes the pruning sample, a list of batches, for a device; called only if the scorer asks for data.
        optimizer: makes the optimiser from parameters.
        scheduler: makes a learning-rate schedule from the optimiser; it is stepped once per epoch.
        loss: (output, target) -> mean loss, for training and tests.
        include, exclude: the patterns of weight names that `prune` uses.
        compact_for: (C, H, W) of an image; train the compact net for this input in place of the masked net.
        generator: the one bound in `prune`; its state is kept in checkpoints, for prunings after a run is resumed.
        channels_last: keep images and weights in channels-last memory format while training.
        compiled: compile the net in place with `torch.compile`; True, or the name of a mode.
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        prune: Callable[..., PruneResult],
        sample: Callable[[torch.device], list[Batch]],
        optimizer: Callable[..., torch.optim.Optimizer],
        scheduler: Callable[..., torch.optim.lr_scheduler.LRScheduler] | None = None,
        loss: Loss = F.cross_entropy,
        include: Patterns = None,
        exclude: Patterns = None,
        compact_for: Sequence[int] | None = None,
        generator: torch.Generator | None = None,
        channels_last: bool = False,
        compiled: bool | str = False,
    ) -> None:
        super().__init__(net, MaskBuffers(prunable(net, include=include, exclude=exclude)))
        self.whole = [net]  # a list, so that only `net` is registered, which a compact net may replace
        self.pruning: dict[str, Any] = {}  # the result of pruning as plain values; empty before
        self._prune, self._sample, self._loss = prune, sample, loss
        self._optimizer, self._scheduler, self._compact_for = optimizer, scheduler, compact_for
        self._generator, self._channels_last, self._compiled = generator, channels_last, compiled
        self._ready = self._counted = False
        self._tallies = {stage: Tally((1, 5)) for stage in ("train", *STAGES)}

    def setup(self, stage: str) -> None:
        """Prune once before training; a resumed run takes only its masks, to build its checkpoint's compact net."""
        if stage != "fit" or self._ready:
            return
        self._ready = True
        if self.pruning:
            return
        if self.trainer.ckpt_path is None:
            self.prune(self.trainer.strategy.root_device)
        elif self._compact_for is not None:
            state = torch.load(self.trainer.ckpt_path, map_location="cpu", weights_only=True)["state_dict"]
            self.masks.fill_from(state, "masks")
            self.masks.factors.clear_weights()
        if self._compact_for is not None:
            self.net, self.upkeep = compacted(self.net, self.masks, self._compact_for, self.device)
        for part in (self, *self.whole):
            self._convert(part)
        if self._compact_for is not None and self.pruning:  # a resumed run has them in its checkpoint
            x, y = next(iter(cast(Any, self.trainer).datamodule.train_dataloader()))
            batch = (self._formed(x), y)
            self.pruning["compaction"] = savings(self.whole[0], self.net, batch, self._loss, self.trainer)
        if self._compiled:
            self.net.compile(mode=None if self._compiled is True else self._compiled)

    def _convert(self, part: nn.Module) -> None:
        """Convert to the precision and memory format of training, before float32 would round a loaded checkpoint."""
        self.trainer.precision_plugin.convert_module(part)
        if self._channels_last:
            part.to(memory_format=torch.channels_last)  # masks too, for operations on both

    def _formed(self, images: Tensor) -> Tensor:
        return images.contiguous(memory_format=torch.channels_last) if self._channels_last else images

    def whole_net(self) -> nn.Module:
        """The net with its original shapes and its present weights; a compact net is expanded."""
        (whole,) = self.whole
        return whole if whole is self.net else expand(self.net, whole)

    def prune(self, device: torch.device, **options: Any) -> None:
        """Prune the net on `device` and store the masks; `options` override arguments of the function `prune`."""
        self.to(device)

        def sample() -> Iterator[Batch]:  # lazy: a scorer without data must not read any
            yield from self._sample(device)

        result = self._prune(self.net, data=sample(), **options)
        if result.connected is False:
            warnings.warn(
                "layer collapse: no path leads from input to output, so there is nothing to train", stacklevel=2
            )
        self.masks.fill(result.masks)
        self.masks.share()
        self.pruning = result.as_dict()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Count the batch once, before the step, though an optimiser such as L-BFGS may evaluate it several times."""
        self._counted = False

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of one training batch."""
        loss = self._step("train", batch, count=not self._counted)
        self._counted = True
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Log the means of the epoch after its last batch."""
        if self.trainer.is_last_batch:
            self.report("train")

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Evaluate a batch of the test set (loader 0) or of the validation set (loader 1), if there is one."""
        self._step(STAGES[dataloader_idx], batch)

    def on_validation_epoch_end(self) -> None:
        """Log the results of the tests."""
        for stage in STAGES[: len(self.trainer.num_val_batches)]:
            self.report(stage)

    def _step(self, stage: str, batch: Batch, *, count: bool = True) -> Tensor:
        x, y = batch
        logits = self.net(self._formed(x))
        loss = self._loss(logits, y)
        if count:
            self._tallies[stage].add(loss.detach(), logits.detach(), y)
        return loss

    def report(self, stage: str) -> None:
        """Log the epoch's means over all ranks, once per epoch, since logging can take longer than a step."""
        values = means(self._tallies[stage], stage, self.trainer.strategy)
        # All ranks have the same values already, but Lightning warns without sync_dist.
        # Loggers get the values from `History`, in one row.
        self.log_dict(values, on_step=False, on_epoch=True, batch_size=1, sync_dist=True, logger=False)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Copy the module, as callbacks that average weights do, but share functions that hold data and terminal."""
        memo |= {id(part): part for part in (self._prune, self._sample)}
        copied = memo[id(self)] = type(self).__new__(type(self))
        copied.__dict__.update(copy.deepcopy(self.__getstate__(), memo))
        return copied

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimiser and, if there is one, the learning-rate schedule."""
        optimizer = self._optimizer(self.net.parameters())
        if self._scheduler is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": self._scheduler(optimizer), "interval": "epoch"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the result of pruning and what the next one draws from; the masks are saved as buffers."""
        checkpoint["pruning"] = self.pruning
        if self._generator is not None:
            checkpoint["generator"] = self._generator.get_state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the result of pruning and the random numbers that the next one draws."""
        self.pruning = checkpoint["pruning"]
        if self._generator is not None and "generator" in checkpoint:
            self._generator.set_state(checkpoint["generator"].cpu())
