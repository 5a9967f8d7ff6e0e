"""Dashboards beside `metrics.csv`: opened with the configuration, told the outcome, closed whatever happens."""

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
    """A Lightning logger that also takes a run's outcome; other loggers get the configuration and the curves."""

    def begin(self, config: Plain, *, goes_on: bool) -> None:
        """Take the resolved configuration; `goes_on` if the run is resumed from a checkpoint."""

    def record(self, record: RunRecord, folder: Path) -> None:
        """Take what result.json says, and the folder where the run's files are."""

    def finish(self, exit_code: int) -> None:
        """Close the run; 0 says that it succeeded."""

    def where(self) -> str | None:
        """What to type or open to look at it; None if there is nothing to see."""


@contextmanager
def opened(trainer: pl.Trainer, config: Plain) -> Iterator[Sequence[Dashboard]]:
    """Begin all loggers of `trainer`, and finish them in the end, also when the run fails.

    A W&B run left open would swallow the next run of this process.
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
    """The columns by which people compare runs: flat, without what is unknown."""
    columns = {
        key: getattr(record, key)
        for key in ("scorer", "seed", "exponent", "sparsity", "effective_sparsity", "connected")
    }
    for group in ("top1", "top5", "cost", "seconds"):
        columns |= {f"{group}/{key}": value for key, value in getattr(record, group)}
    # As 0 and 1, `connected` is an axis of its own in parallel coordinates.
    return {key: int(v) if isinstance(v, bool) else v for key, v in columns.items() if v is not None}


def counted(metrics: Mapping[str, float]) -> dict[str, float]:
    """With the epoch counted from 1, as in metrics.csv: Lightning counts from 0."""
    return {**metrics, "epoch": metrics["epoch"] + 1} if "epoch" in metrics else dict(metrics)


class TensorBoard(TensorBoardLogger):
    """Curves, and one line per run in TensorBoard's table of hyperparameters, which needs the outcome beside them."""

    def __init__(self, save_dir: Path) -> None:
        super().__init__(save_dir, name="", version="tensorboard", default_hp_metric=False)

    def begin(self, config: Plain, *, goes_on: bool) -> None:
        """Keep the configuration for the end: TensorBoard takes hyperparameters together with what they led to."""
        self._config = config

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Count epochs from 1."""
        super().log_metrics(counted(metrics), step)

    def record(self, record: RunRecord, folder: Path) -> None:
        """Write the line."""
        numbers = {key: float(value) for key, value in outcome(record).items() if not isinstance(value, str)}
        self.log_hyperparams(self._config, {f"outcome/{key}": value for key, value in numbers.items()})

    def finish(self, exit_code: int) -> None:
        """Write what is still in memory."""
        self.finalize("success" if exit_code == 0 else "failed")

    def where(self) -> str | None:
        """The command that shows it."""
        return f"tensorboard --logdir {self.log_dir}"
