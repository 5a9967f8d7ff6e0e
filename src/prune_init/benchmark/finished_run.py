"""A finished run, read from its folder."""

import csv
import io
import math
from dataclasses import dataclass
from pathlib import Path

from prune_init.record.run_record import RunRecord


@dataclass(frozen=True, eq=False)
class FinishedRun:
    """A run's folder and the contents of its result.json."""

    folder: Path
    record: RunRecord

    def accuracy(self, which: str) -> float | None:
        """Test top-1 in per cent, `last`, `best` or `at_best_validation`; None if not measured or not finite."""
        value = getattr(self.record.top1, which)
        return None if value is None or not math.isfinite(value) else 100 * value

    def metrics(self) -> list[dict[str, float]]:
        """The rows of metrics.csv, one per epoch; empty if the run was not trained.

        Raises:
            ValueError: the file is damaged, or not one that prune_init writes.
        """
        path = self.folder / "metrics.csv"
        if not path.exists():
            return []
        text = path.read_text()
        if not text.endswith("\n"):  # a number may have lost its last digits
            raise ValueError("its last line is torn")
        try:
            rows = [
                {key: math.nan if value == "" else float(value) for key, value in row.items()}
                for row in csv.DictReader(io.StringIO(text))
            ]
        except (TypeError, csv.Error) as error:  # another number of values than of columns, blocks of zeros
            raise ValueError(str(error)) from None
        if not all("epoch" in row for row in rows):
            raise ValueError("it has no column epoch")
        return rows
