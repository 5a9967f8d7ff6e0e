"""Runs that repeat published ones, as `prune_init.benchmark.replication` keeps them."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prune_init.errors import InputError
from prune_init.record import results
from prune_init.record.run_record import RunRecord
from prune_init.report import published
from prune_init.report.palette import rank
from prune_init.subcommands import to_type


@dataclass(frozen=True, eq=False)
class KeptRun:
    """A kept run; accuracies are in per cent."""

    about: dict[str, Any]  # cell.json
    top1: tuple[float, ...]  # test accuracy after each epoch so far
    hours: float  # of training and testing
    record: RunRecord | None  # None if it is not finished

    @property
    def finished(self) -> bool:
        """Whether the run was trained to its end."""
        return self.record is not None

    @property
    def config(self) -> dict[str, Any]:
        """The settings that define the result."""
        config: dict[str, Any] = self.about["config"]
        return config

    @property
    def key(self) -> tuple[str, str, str, float]:
        """Data set, network, scorer and exponent, by which published runs are found."""
        names = (self.config[group]["name"] for group in ("dataset", "architecture", "scorer"))
        return (*names, round(float(self.config["exponent"]), 4))

    @property
    def theirs(self) -> list[float]:
        """Accuracies of the published runs with the same key."""
        return published.runs(*self.key)


def read(folder: Path) -> list[KeptRun]:
    """Read all kept runs below `folder`, sorted by data set, network, scorer, compression and seed.

    Raises:
        InputError: there is none, or a file is missing or invalid.
    """
    found = []
    for path in sorted(folder.rglob("cell.json")):
        try:
            about = json.loads(path.read_text())
            with (path.parent / "metrics.csv").open(newline="") as file:
                rows = list(csv.DictReader(file))
            top1 = tuple(100 * float(row["test/top1"]) for row in rows)
            hours = sum(float(row["seconds"]) for row in rows) / 3600
            found.append(KeptRun(about, top1, hours, results.read(path.parent)))
            assert found[-1].key and top1
        except (OSError, ValueError, KeyError, TypeError, AssertionError, csv.Error) as error:
            raise InputError("folder", path.parent, f"holds no run that was kept ({error!r})") from None
    if not found:
        raise InputError("folder", folder, f"holds no cell.json; {to_type('keep-runs')} keeps runs")
    return sorted(found, key=_order)


def _order(cell: KeptRun) -> Any:
    dataset, architecture, scorer, exponent = cell.key
    return dataset, architecture, rank(scorer), exponent, cell.config["seed"]
