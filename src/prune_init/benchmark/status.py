"""Show how far the sweeps in a folder are: runs done, running, failed and missing, and why each failed."""

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.markup import escape

from prune_init import host
from prune_init.arguments import Parser
from prune_init.benchmark.collect import run_folders
from prune_init.errors import InputError
from prune_init.launching import plan, plan_file
from prune_init.record import status as run_status
from prune_init.record.results import read

STATES = ("done", "running", "failed", "missing")


class Failure(NamedTuple):
    """A run that failed, the reason, and its log."""

    folder: Path
    reason: str
    log: Path | None


class Progress(NamedTuple):
    """The number of runs in each state, by sweep (runs that no sweep planned come last), and every failure once.

    `problems` has a line for each folder that cannot be read.
    """

    sweeps: list[tuple[str, Counter[str]]]
    failures: list[Failure]
    problems: list[str]


def progress(results: Path) -> Progress:
    """Look at every run below `results`, planned or not.

    Raises:
        InputError: `results` is not a folder with runs, or a plan in it is damaged.
    """
    if not results.is_dir():
        raise InputError("folder", results, "is not a folder")
    sweeps: list[tuple[str, Counter[str]]] = []
    failures: dict[Path, Failure] = {}
    planned = plan_file.read(results)
    known = {run.folder for sweep in planned for run in sweep.runs}
    problems: list[str] = []
    alone = [run for run in _begun(results, problems) if run.folder not in known]
    if not planned and not alone:
        raise InputError("folder", results, "holds no sweep and no run")
    for title, runs in [*planned, *([plan_file.Sweep("runs outside of sweeps", alone)] if alone else [])]:
        counts = Counter[str]()
        for run in runs:
            state, failure = _look(run.folder, run.identity)
            counts[state] += 1
            if failure is not None:
                failures[run.folder] = failure
        sweeps.append((title, counts))
    return Progress(sweeps, list(failures.values()), problems)


def _look(folder: Path, identity: str) -> tuple[str, Failure | None]:
    try:
        state = run_status.state(folder, identity)
    except InputError as error:
        return "failed", Failure(folder, str(error), None)
    if state != "failed":
        return state, None
    status = run_status.read(folder)
    assert status is not None
    if status.status == "running":
        where = f"process {status.pid} on {status.host}, last update {status.updated}"
        return state, Failure(folder, f"ended without recording a reason, perhaps killed ({where})", None)
    return state, Failure(folder, str(status.error), folder / status.log if status.log else None)


def _begun(results: Path, problems: list[str]) -> Iterator[plan.Planned]:
    """All runs with a status.json or result.json, planned by a sweep or not."""
    for folder, _ in run_folders(results, problems):
        told: Any = run_status.read(folder)
        with suppress(InputError):  # `_look` will report it
            told = told or read(folder)
        yield plan.Planned(folder, told.identity if told else "")


def show(results: Path, console: Console) -> None:
    """Print the counts, then each failure with its reason and its log."""
    found = progress(results)
    table = host.table("sweep", "runs", *STATES)
    for title, counts in found.sweeps:
        states = (f"{counts[state]:,}" if counts[state] else "" for state in STATES)
        table.add_row(escape(title), f"{counts.total():,}", *states)
    console.print(table)
    for failure in found.failures:
        console.print(f"[bold red]failed[/] {escape(str(failure.folder))}\n  {escape(failure.reason)}", soft_wrap=True)
        if failure.log is not None:
            console.print(f"  {escape(os.path.normpath(failure.log))}", soft_wrap=True)
    for problem in found.problems:
        console.print(escape(problem), soft_wrap=True)
    if any(counts["failed"] + counts["missing"] for _, counts in found.sweeps):
        console.print("\nRun the same command again to run what failed or is missing.")


def main() -> None:
    """Run the command."""
    parser = Parser(__doc__)
    parser.add_argument("folder", type=Path, help="where the runs lie, as in results=FOLDER")
    parser.run(lambda chosen: show(chosen.folder, host.console()))


if __name__ == "__main__":
    main()
