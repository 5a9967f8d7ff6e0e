"""One row per epoch, kept through checkpoints, written as CSV, summed up as last / best / at best validation."""

import csv
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from prune_init.files import whole

Row = dict[str, float]


class History(pl.Callback):
    """Collects the epoch's metrics and rewrites `path` after each epoch (to a temporary name, then renamed)."""

    def __init__(self, path: Path) -> None:
        self.rows: list[Row] = []
        self._path = path
        self._start = 0.0
        self._rate = 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the epoch's clock and note its learning rate: at its end the schedule has moved on already."""
        self._start = time.perf_counter()
        self._rate = trainer.optimizers[0].param_groups[0]["lr"]
        for logger in trainer.loggers:
            logger.log_metrics({"lr": self._rate, "epoch": trainer.current_epoch}, trainer.global_step)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Add the epoch's row; tests ran before this."""
        metrics = {name: float(value) for name, value in sorted(trainer.callback_metrics.items())}
        seconds = time.perf_counter() - self._start
        self.rows.append({"epoch": trainer.current_epoch + 1, "lr": self._rate, **metrics, "seconds": seconds})
        if trainer.is_global_zero:
            write_csv(self._path, self.rows)

    def state_dict(self) -> dict[str, Any]:
        """The rows go into checkpoints, so that a resumed run has them all."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the rows of the run that is resumed."""
        self.rows = list(state_dict["rows"])

    def accuracy(self, name: str) -> dict[str, float | None]:
        """`top1` or `top5` on the test set, as fractions, by how the epoch was chosen.

        `last` chooses nothing. `best` is the maximum over epochs of test accuracy, as published: it selects on the
        test set. `at_best_validation` is test accuracy where validation top-1 was highest; None without a
        validation split. Where a run has levels, only the epochs of the last one count: before, the net was denser.
        """
        rows = [row for row in self.rows if row.get("level") == self.rows[-1].get("level")]
        if not rows:
            return {"last": None, "best": None, "at_best_validation": None}
        test = [row[f"test/{name}"] for row in rows]
        chosen = None
        if "validation/top1" in rows[0]:
            chosen = max(rows, key=lambda row: row["validation/top1"])[f"test/{name}"]
        return {"last": test[-1], "best": max(test), "at_best_validation": chosen}


def write_csv(path: Path, rows: list[Row]) -> None:
    """Write rows with the same keys, whole or not at all."""
    with whole(path) as partial, partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
