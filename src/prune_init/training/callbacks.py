"""Which of Lightning's callbacks, and with which arguments, a run can take; and what comes before them."""

import inspect

import pytorch_lightning as pl
from pytorch_lightning import callbacks as lightning
from torch.optim.swa_utils import AveragedModel

from prune_init.errors import InputError

RESERVED = {
    lightning.Checkpoint: "checkpoint",
    lightning.ProgressBar: "the run itself",
    lightning.ModelSummary: "the run itself",
}
"""Kinds of callbacks that every run has, and by which key."""


def check(key: str, callback: object, *, epochs: int, dashboard: bool) -> None:
    """Refuse a callback that would fail, or spoil the run, hours after its start.

    Args:
        key: where the configuration names it.
        callback: as it was made.
        epochs: of the recipe.
        dashboard: whether there is a logger.

    Raises:
        InputError: saying what is allowed.
    """
    name = type(callback).__name__
    if not isinstance(callback, pl.Callback):
        raise InputError(key, name, "is no callback of pytorch_lightning; allowed: subclasses of its Callback")
    for kind, by in RESERVED.items():
        if isinstance(callback, kind):
            raise InputError(key, name, f"is set by {by}")
    if isinstance(callback, (lightning.LearningRateMonitor, lightning.DeviceStatsMonitor)) and not dashboard:
        raise InputError(key, name, "needs a dashboard: logger=tensorboard or logger=wandb")
    if isinstance(callback, lightning.WeightAveraging):
        try:  # it passes them on when it is set up
            inspect.signature(AveragedModel).bind(None, **callback._kwargs)
        except TypeError as error:
            raise InputError(key, name, str(error)) from None
    if isinstance(callback, lightning.StochasticWeightAveraging):
        start = callback._swa_epoch_start
        first = start if isinstance(start, int) else int(start * epochs)
        if first > epochs:  # it would put the initial weights back in the end
            raise InputError(f"{key}.swa_epoch_start", start, f"allowed: up to recipe.epochs, {epochs}")
        if first < 2:  # what is averaged is the net before each epoch
            why = "averages the untrained weights too"
            raise InputError(f"{key}.swa_epoch_start", start, f"{why}; allowed: 2 to recipe.epochs, {epochs}")


class PruneFirst(pl.Callback):
    """Prunes before callbacks of the user see the net: what averages weights copies it when it is set up."""

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Do now what the module would do after all callbacks."""
        pl_module.setup(stage)
