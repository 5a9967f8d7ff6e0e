"""Iterative magnitude pruning: train, prune, rewind, again (Frankle and Carbin 2019; Frankle et al. 2020)."""

import copy
from typing import Any

import pytorch_lightning as pl

from prune_init.training.module import PruneThenTrain


class LotteryTicket(pl.Callback):
    """Cycles of training, pruning and rewinding inside one `fit`, so that a run can be resumed after any epoch.

    Level 0 trains the dense net for `epochs`. Level l of n then prunes the trained weights to density d^(l/n), where d
    is the final density. It rewinds everything else to its state after `rewind_epoch` epochs (weights, norm parameters
    and running statistics, optimiser, learning-rate schedule) and trains the remaining epochs again. A pruned weight
    stays pruned.

    Differs from the published SynFlow code, which does not rewind the weights (its authors say so), and from
    open_lth, which prunes 20 % of the remaining weights per level: here each level keeps the same fraction.
    """

    def __init__(self, *, levels: int, rewind_epoch: int, epochs: int, sparsity: float) -> None:
        self.level = 0
        self._levels, self._rewind_epoch, self._epochs, self._density = levels, rewind_epoch, epochs, 1 - sparsity
        self._start: dict[str, Any] = {}  # everything as it was after `rewind_epoch` epochs

    @property
    def max_epochs(self) -> int:
        """The number of epochs of all levels together."""
        return self._epochs + self._levels * (self._epochs - self._rewind_epoch)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the state to rewind to, or begin the next level by pruning and rewinding."""
        assert isinstance(pl_module, PruneThenTrain)
        if trainer.current_epoch == self._rewind_epoch:
            self._start = copy.deepcopy(_state(trainer, pl_module))
        if self.level < self._levels and trainer.current_epoch == self._first_epoch(self.level + 1):
            self.level += 1
            sparsity = 1 - self._density ** (self.level / self._levels)
            pl_module.prune(pl_module.device, sparsity=sparsity, masks=pl_module.masks.tensors())
            _restore(trainer, pl_module, self._start)
        pl_module.log("level", float(self.level), logger=False)  # loggers get it from `History`

    def _first_epoch(self, level: int) -> int:
        return self._epochs + (level - 1) * (self._epochs - self._rewind_epoch)

    def state_dict(self) -> dict[str, Any]:
        """The level and the state to rewind to, for checkpoints."""
        return {"level": self.level, "start": self._start}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore them from a checkpoint."""
        self.level, self._start = state_dict["level"], state_dict["start"]


def _state(trainer: pl.Trainer, module: PruneThenTrain) -> dict[str, Any]:
    return {
        "net": module.net.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in trainer.optimizers],
        "schedulers": [config.scheduler.state_dict() for config in trainer.lr_scheduler_configs],
    }


def _restore(trainer: pl.Trainer, module: PruneThenTrain, state: dict[str, Any]) -> None:
    state = copy.deepcopy(state)  # optimisers keep the tensors that they load
    module.net.load_state_dict(state["net"])
    for optimizer, saved in zip(trainer.optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(saved)
    for config, saved in zip(trainer.lr_scheduler_configs, state["schedulers"], strict=True):
        config.scheduler.load_state_dict(saved)
    module.masks.factors.clear_weights()
    module.net.train()
