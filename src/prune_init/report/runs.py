"""What a folder of runs holds: the runs that can be shown, and one line for everything that cannot."""

import csv
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prune_init.benchmark.collect import collect
from prune_init.errors import InputError


@dataclass(frozen=True, eq=False)
class Run:
    """One finished run: its folder and the content of its result.json."""

    folder: Path
    row: dict[str, Any]

    def accuracy(self, which: str) -> float | None:
        """Test top-1 in per cent, `last`, `best` or `at_best_validation`; None where it was not measured or is NaN."""
        value = self.row["top1"].get(which)
        return None if value is None or not math.isfinite(value) else 100 * value

    @property
    def collapsed(self) -> bool:
        """Whether no path from input to output is left."""
        return self.row.get("connected") is False

    @property
    def effective_exponent(self) -> float | None:
        """log10 of the compression ratio counted over weights on a path; None where there is none, or unknown."""
        sparsity = self.row.get("effective_sparsity")
        return None if sparsity is None or not 0 <= sparsity < 1 else 0.0 - math.log10(1 - sparsity)

    def metrics(self) -> list[dict[str, float]]:
        """The rows of metrics.csv, one per epoch; empty where the run was not trained.

        Raises:
            ValueError: the file is torn or not ours.
        """
        path = self.folder / "metrics.csv"
        if not path.exists():
            return []
        with path.open(newline="") as file:
            return [{key: float(value or "nan") for key, value in row.items()} for row in csv.DictReader(file)]


def load(folder: Path) -> tuple[list[Run], list[str]]:
    """All finished runs below `folder`, each once, and a line for all that is left out or not as usual.

    Raises:
        InputError: `folder` is not there or holds no finished run.
    """
    found = collect(folder)
    problems = [line.removeprefix("results=").replace(f"{folder}/", "", 1) for line in found.problems]
    if not found.rows:
        why = f"; {len(problems)} unusable, the first: {problems[0]}" if problems else ""
        raise InputError("folder", folder, f"holds no result.json of a finished run{why}")
    runs = [Run(folder / row["folder"], result) for row, result in zip(found.rows, found.results, strict=True)]
    if found.unfinished:
        have = "run has" if found.unfinished == 1 else "runs have"
        problems.append(f"{found.unfinished:,} {have} no result (yet): python -m prune_init.benchmark.status {folder}")
    return runs, problems + list(_remarks(runs, folder))


def _remarks(runs: list[Run], folder: Path) -> Iterable[str]:
    """What readers of the figures have to know about the runs in them."""
    for run in runs:
        if told := (run.row.get("ties") or {}).get("told"):
            yield f"{run.folder.relative_to(folder)}: {told}"
        for key, value in run.row["top1"].items():
            if isinstance(value, float) and not math.isfinite(value):
                yield f"{run.folder.relative_to(folder)}: accuracy {key} is {value}: in the table, not in the figures"
    seeds = Counter((r.row["dataset"], r.row["architecture"], r.row["scorer"], r.row["exponent"]) for r in runs)
    if max(seeds.values()) == 1:
        yield "one seed only: no intervals are drawn"
