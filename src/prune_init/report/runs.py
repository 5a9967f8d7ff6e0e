"""Load a folder of runs: those that can be shown, and a note on each that cannot."""

import math
from collections.abc import Iterable
from pathlib import Path

from prune_init.benchmark.collect import Collected, collect
from prune_init.benchmark.finished_run import FinishedRun
from prune_init.benchmark.intervals import LEAST
from prune_init.benchmark.variants import grouped
from prune_init.errors import InputError
from prune_init.subcommands import to_type


def load(folder: Path) -> Collected:
    """Load all finished runs below `folder`, each once, with a note on whatever is left out or unusual.

    Raises:
        InputError: `folder` is not a folder, or has no finished run.
    """
    found = collect(folder)
    problems = [line.removeprefix("results=").replace(f"{folder}/", "", 1) for line in found.problems]
    if not found.rows:
        why = f"; {len(problems)} unusable, the first: {problems[0]}" if problems else ""
        raise InputError("folder", folder, f"holds no result.json of a finished run{why}")
    if found.unfinished:
        have = "run has" if found.unfinished == 1 else "runs have"
        problems.append(f"{found.unfinished:,} {have} no result (yet): {to_type('status', folder)}")
    return found._replace(problems=[*problems, *_remarks(found.runs, folder)])


def _remarks(runs: list[FinishedRun], folder: Path) -> Iterable[str]:
    """Notes that a reader of the figures needs."""
    for run in runs:
        if run.record.ties is not None and (told := run.record.ties.told):
            yield f"{run.folder.relative_to(folder)}: {told}"
        for key, value in run.record.top1:
            if isinstance(value, float) and not math.isfinite(value):
                yield f"{run.folder.relative_to(folder)}: accuracy {key} is {value}: in the table, not in the figures"
    if max(len(group.runs) for group in grouped(runs)) < LEAST:
        yield f"fewer than {LEAST} seeds: no intervals are drawn"
