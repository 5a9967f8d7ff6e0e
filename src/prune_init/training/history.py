"""The metrics of each epoch: kept in checkpoints, written as CSV, summarised as last / best / at best validation."""

import math
import time
import warnings
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from prune_init.files import write_csv
from prune_init.record.run_record import Accuracies
from prune_init.training.module import STAGES, PruneThenTrain
from prune_init.training.resume import ends_here

Row = dict[str, float]


class History(pl.Callback):
    """Collects one row of metrics per epoch and rewrites the file `path` atomically after each.

    Loggers get the same rows; the row of the last epoch waits for `close`, since it may still be amended. An epoch
    without a test has no test columns.
    """

    def __init__(self, path: Path) -> None:
        self.rows: list[Row] = []
        self._path = path
        self._start = 0.0
        self._rate = 0.0
        self._tests: Row = {}
        self._tested = -1  # the number of steps before these tests
        self._told = 0  # rows that loggers have received
        self.seconds_before = 0.0  # training time of epochs in earlier attempts
        self.broken_off = False  # whether the last epoch was stopped before its end
        self.outdated = False  # whether steps followed the last epoch's test

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the epoch's clock and note its learning rate, which the schedule has changed by the epoch's end."""
        self._start = time.perf_counter()
        self._tests = {}
        self._rate = trainer.optimizers[0].param_groups[0]["lr"]

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note the test metrics, because Lightning also keeps them in later epochs without a test."""
        self._tests = {name: float(value) for name, value in trainer.callback_metrics.items() if _is_test(name)}
        self._tested = trainer.global_step

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Add the epoch's row; its tests have run before this, though perhaps not after its last step."""
        assert isinstance(pl_module, PruneThenTrain)
        self.outdated = self._tested < trainer.global_step
        self.broken_off = not trainer.is_last_batch
        if self.broken_off:
            pl_module.report("train")
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items() if not _is_test(name)}
        seconds = time.perf_counter() - self._start
        row = {"epoch": trainer.current_epoch + 1, "lr": self._rate} | metrics | self._tests | {"seconds": seconds}
        self.rows.append(_sorted(row))
        if trainer.is_global_zero:
            write_csv(self._path, self.rows)
            self._warn_of_divergence()
        self._tell(trainer, len(self.rows) - ends_here(trainer))

    def _warn_of_divergence(self) -> None:
        """Warn once if the loss is not finite: from then on the net gives every image the same class."""
        finite = [math.isfinite(row.get("train/loss", 0.0)) for row in self.rows]
        if not finite[-1] and all(finite[:-1]):
            why = "training has diverged; try a lower recipe.optimizer.lr, or recipe.gradient_clip=1"
            warnings.warn(f"train loss is not finite in epoch {int(self.rows[-1]['epoch'])}: {why}", stacklevel=2)

    def close(self, trainer: pl.Trainer) -> None:
        """Send the remaining rows to the loggers, once training is over and nothing will be amended."""
        self._tell(trainer, len(self.rows))

    def _tell(self, trainer: pl.Trainer, upto: int) -> None:
        for row in self.rows[self._told : upto]:
            for logger in trainer.loggers:  # they count epochs from 0, as Lightning does
                logger.log_metrics({**row, "epoch": row["epoch"] - 1}, trainer.global_step)
        self._told = max(self._told, upto)

    @property
    def ends_untested(self) -> bool:
        """Whether the final net has no test, for example because the run was stopped before it."""
        return bool(self.rows) and (self.outdated or f"{STAGES[0]}/top1" not in self.rows[-1])

    def amend(self, trainer: pl.Trainer) -> None:
        """Put the results of a test of the final net into the last epoch's row."""
        self.rows[-1] = _sorted(self.rows[-1] | self._tests)
        if trainer.is_global_zero:
            write_csv(self._path, self.rows)

    def state_dict(self) -> dict[str, Any]:
        """The rows, for checkpoints, so that a resumed run has all of them, and what is to be said of the last one."""
        return {"rows": self.rows, "broken_off": self.broken_off, "outdated": self.outdated}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the rows of the run that is resumed."""
        self.rows, self.broken_off = list(state_dict["rows"]), state_dict.get("broken_off", False)
        self.outdated = state_dict.get("outdated", False)
        self._told = len(self.rows)
        self.seconds_before = sum(row["seconds"] for row in self.rows)

    def accuracy(self, name: str) -> Accuracies:
        """The accuracies `top1` or `top5`, by how the epoch is chosen.

        In a run with levels only the epochs of the last level count, because the net was denser before. Epochs
        without a test do not count.
        """
        rows = [row for row in self.rows if row.get("level") == self.rows[-1].get("level") and f"test/{name}" in row]
        if not rows:
            return Accuracies(last=None, best=None, at_best_validation=None)
        best, chosen = max(rows, key=lambda row: row[f"test/{name}"]), Row()
        if "validation/top1" in rows[0]:
            chosen = max(rows, key=lambda row: row["validation/top1"])
        return Accuracies(
            last=rows[-1][f"test/{name}"],
            best=best[f"test/{name}"],
            best_epoch=int(best["epoch"]),
            at_best_validation=chosen.get(f"test/{name}"),
            best_validation=chosen.get(f"validation/{name}"),
            best_validation_epoch=int(chosen["epoch"]) if chosen else None,
        )


def _is_test(metric: str) -> bool:
    return metric.startswith(tuple(f"{stage}/" for stage in STAGES))


def _sorted(row: Row) -> Row:
    first = ("epoch", "lr")
    return {name: row[name] for name in (*first, *sorted(row.keys() - {*first, "seconds"}), "seconds")}
