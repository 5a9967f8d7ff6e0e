"""Checks of a user's Lightning callbacks."""

import inspect

import pytorch_lightning as pl
from pytorch_lightning import callbacks as lightning
from torch.optim.swa_utils import AveragedModel

from prune_init.errors import InputError, one_of
from prune_init.training.module import STAGES

RESERVED = {
    lightning.Checkpoint: "checkpoint",
    lightning.ProgressBar: "the run itself",
    lightning.ModelSummary: "the run itself",
}
"""Kinds of callbacks that the run makes itself, and the key that controls each."""

METRICS = [f"{stage}/{name}" for stage in ("train", *STAGES) for name in ("loss", "top1", "top5")]
"""What is measured in each epoch."""


def check(key: str, callback: object, *, epochs: int, dashboard: bool, validation: bool) -> None:
    """Refuse a callback that would fail, or spoil the run, hours after its start.

    Args:
        key: the key of the callback in the configuration.
        callback: the object that the configuration describes.
        epochs: number of epochs of the recipe.
        dashboard: whether there is a logger.
        validation: whether images are held back for validation.

    Raises:
        InputError: naming the callback and what is allowed.
    """
    name = type(callback).__name__
    if not isinstance(callback, pl.Callback):
        raise InputError(key, name, "is not a Lightning callback; allowed: subclasses of pytorch_lightning.Callback")
    for kind, by in RESERVED.items():
        if isinstance(callback, kind):
            raise InputError(key, name, f"is set by {by}")
    if isinstance(callback, (lightning.LearningRateMonitor, lightning.DeviceStatsMonitor)) and not dashboard:
        raise InputError(key, name, "needs a dashboard: logger=tensorboard or logger=wandb")
    if isinstance(callback, lightning.EarlyStopping):
        monitor = callback.monitor
        if monitor not in METRICS:
            raise InputError(f"{key}.monitor", monitor, one_of(monitor, METRICS))
        if monitor.startswith("validation/") and not validation:
            raise InputError(f"{key}.monitor", monitor, "needs validation=N, images that are held back")
    if isinstance(callback, lightning.WeightAveraging):
        try:  # the callback passes its arguments on only in its setup
            inspect.signature(AveragedModel).bind(None, **callback._kwargs)
        except TypeError as error:
            raise InputError(key, name, str(error)) from None
    if isinstance(callback, lightning.StochasticWeightAveraging):
        start = callback._swa_epoch_start
        first = start if isinstance(start, int) else int(start * epochs)
        if first > epochs:  # it would restore the initial weights at the end
            raise InputError(f"{key}.swa_epoch_start", start, f"allowed: up to recipe.epochs, {epochs}")
        if first < 2:  # it averages the weights before each epoch
            why = "averages the untrained weights too"
            raise InputError(f"{key}.swa_epoch_start", start, f"{why}; allowed: 2 to recipe.epochs, {epochs}")
