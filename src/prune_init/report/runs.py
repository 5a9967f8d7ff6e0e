"""What a folder of runs holds: the runs that can be shown, and one line for everything that cannot."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from prune_init.benchmark.collect import collect
from prune_init.benchmark.intervals import LEAST
from prune_init.benchmark.tables import metrics
from prune_init.errors import InputError
from prune_init.record.run_record import RunRecord
from prune_init.subcommands import to_type


@dataclass(frozen=True, eq=False)
class FinishedRun:
    """One finished run: its folder and what its result.json says."""

    folder: Path
    record: RunRecord

    def accuracy(self, which: str) -> float | None:
        """Test top-1 in per cent, `last`, `best` or `at_best_validation`; None where it was not measured or is NaN."""
        value = getattr(self.record.top1, which)
        return None if value is None or not math.isfinite(value) else 100 * value

    def metrics(self) -> list[dict[str, float]]:
        """The rows of metrics.csv, one per epoch; empty where the run was not trained.

        Raises:
            ValueError: the file is torn or not ours.
        """
        return metrics(self.folder)


def load(folder: Path) -> tuple[list[FinishedRun], list[str]]:
    """All finished runs below `folder`, each once, and a line for all that is left out or not as usual.

    Raises:
        InputError: `folder` is not there or holds no finished run.
    """
    found = collect(folder)
    problems = [line.removeprefix("results=").replace(f"{folder}/", "", 1) for line in found.problems]
    if not found.rows:
        why = f"; {len(problems)} unusable, the first: {problems[0]}" if problems else ""
        raise InputError("folder", folder, f"holds no result.json of a finished run{why}")
    runs = [FinishedRun(folder / row["folder"], record) for row, record in zip(found.rows, found.records, strict=True)]
    if found.unfinished:
        have = "run has" if found.unfinished == 1 else "runs have"
        problems.append(f"{found.unfinished:,} {have} no result (yet): {to_type('status', folder)}")
    return runs, problems + list(_remarks(runs, folder))


def _remarks(runs: list[FinishedRun], folder: Path) -> Iterable[str]:
    """What readers of the figures have to know about the runs in them."""
    for run in runs:
        if run.record.ties is not None and (told := run.record.ties.told):
            yield f"{run.folder.relative_to(folder)}: {told}"
        for key, value in run.record.top1:
            if isinstance(value, float) and not math.isfinite(value):
                yield f"{run.folder.relative_to(folder)}: accuracy {key} is {value}: in the table, not in the figures"
    seeds = Counter((r.dataset, r.architecture, r.scorer, r.exponent) for r in (run.record for run in runs))
    if max(seeds.values()) < LEAST:
        yield f"fewer than {LEAST} seeds: no intervals are drawn"
