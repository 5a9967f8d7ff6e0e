"""Dashboards beside `metrics.csv`: they get the configuration, curves and outcome, and are closed in any case."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import pytorch_lightning as pl
from pytorch_lightning.loggers import TensorBoardLogger

from prune_init.record.run_record import RunRecord

Plain = dict[str, Any]


@runtime_checkable
class Dashboard(Protocol):
    """A Lightning logger that also logs a run's outcome; other loggers get only the configuration and the curves."""

    def begin(self, config: Plain, *, goes_on: bool) -> None:
        """Log the resolved configuration; `goes_on` is true if the run is resumed from a checkpoint."""

    def record(self, record: RunRecord, folder: Path) -> None:
        """Log the outcome of the run, whose files are in `folder`."""

    def finish(self, exit_code: int) -> None:
        """Close the dashboard; the exit code is 0 if the run succeeded."""

    def where(self) -> str | None:
        """The command or address that shows the run; None if there is nothing to see."""


@contextmanager
def opened(trainer: pl.Trainer, config: Plain) -> Iterator[Sequence[Dashboard]]:
    """Begin all loggers of `trainer`, and finish them at the end, even if the run fails.

    If a W&B run stayed open, the next run of this process would be logged into it.
    """
    dashboards = [logger for logger in trainer.loggers if isinstance(logger, Dashboard)]
    exit_code = 1
    try:
        for logger in trainer.loggers:
            if isinstance(logger, Dashboard):
                logger.begin(config, goes_on=trainer.ckpt_path is not None)
            else:
                logger.log_hyperparams(config)
        yield dashboards
        exit_code = 0
    finally:
        for dashboard in dashboards:
            dashboard.finish(exit_code)


def outcome(record: RunRecord) -> dict[str, str | int | float]:
    """The values by which runs are compared, with flat names; unknown values are left out."""
    columns = {
        key: getattr(record, key)
        for key in ("scorer", "seed", "exponent", "sparsity", "effective_sparsity", "connected")
    }
    for group in ("top1", "top5", "cost", "seconds"):
        columns |= {f"{group}/{key}": value for key, value in getattr(record, group)}
    # `connected` is 0 or 1, so that it can be an axis of parallel coordinates.
    return {key: int(v) if isinstance(v, bool) else v for key, v in columns.items() if v is not None}


def counted(metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics with the epoch counted from 1, as in metrics.csv, where Lightning counts from 0."""
    return {**metrics, "epoch": metrics["epoch"] + 1} if "epoch" in metrics else dict(metrics)


class TensorBoard(TensorBoardLogger):
    """TensorBoard with the curves, and one row per run in its table of hyperparameters and outcomes."""

    def __init__(self, save_dir: Path) -> None:
        super().__init__(save_dir, name="", version="tensorboard", default_hp_metric=False)

    def begin(self, config: Plain, *, goes_on: bool) -> None:
        """Keep the configuration until the end, because TensorBoard takes hyperparameters together with the outcome."""
        self._config = config

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log metrics with epochs counted from 1."""
        super().log_metrics(counted(metrics), step)

    def record(self, record: RunRecord, folder: Path) -> None:
        """Write the row of the table."""
        numbers = {key: float(value) for key, value in outcome(record).items() if not isinstance(value, str)}
        self.log_hyperparams(self._config, {f"outcome/{key}": value for key, value in numbers.items()})

    def finish(self, exit_code: int) -> None:
        """Write what is still in memory."""
        self.finalize("success" if exit_code == 0 else "failed")

    def where(self) -> str | None:
        """The command that shows the run."""
        return f"tensorboard --logdir {self.log_dir}"
