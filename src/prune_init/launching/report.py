"""The output of a sweep, while it runs and when it has ended."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta

from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from prune_init import host
from prune_init.launching.plan import Planned
from prune_init.launching.process import LOG
from prune_init.record import results
from prune_init.record import status as run_status


class RunFailedError(HydraException):
    """A run of the sweep has no result."""


def bar(total: int, done: int) -> Progress:
    """A progress bar over runs; without a terminal it shows only what is printed on it."""
    console = host.console()
    progress = Progress(
        TextColumn("{task.description:<8}"),
        BarColumn(bar_width=32),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
        disable=not console.is_terminal,
    )
    progress.add_task("runs", total=total, completed=done, note="")
    return progress


def show(progress: Progress, completed: int, note: str = "") -> None:
    """Show that `completed` runs are done."""
    (task,) = progress.tasks
    progress.update(task.id, completed=completed, note=note)


def to_do(runs: Iterable[Planned]) -> list[Planned]:
    """The runs without a result.

    Raises:
        InputError: a folder holds another configuration's result, or one that cannot be read.
    """
    return [run for run in runs if run_status.state(run.folder, run.identity) != "done"]


def outcome(run: Planned) -> str:
    """One line on a finished run: its last test accuracy, if it was tested, and its duration."""
    record = results.read(run.folder, run.identity)
    assert record is not None
    tested = "" if record.top1.last is None else f"top-1 {100 * record.top1.last:.2f} %, "
    return f"done, {tested}{_duration(record.seconds.total)}"


def summary(runs: Sequence[Planned], seconds: float) -> str:
    """One line on all runs: how many are done and how many failed."""
    missing = len(to_do(runs))
    return f"{len(runs) - missing} done, {missing} failed, {_duration(seconds)}"


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else str(timedelta(seconds=round(seconds)))


def returns(runs: Sequence[Planned], said: Mapping[Planned, str]) -> list[JobReturn]:
    """Make the `JobReturn` of each run for Hydra; print the runs without a result, each with its reason and log.

    Args:
        runs: in the sweeper's order.
        said: the reason for runs that recorded none themselves.
    """
    back = []
    for run in runs:
        record = results.read(run.folder, run.identity)
        job = JobReturn(overrides=run.overrides, working_dir=str(run.folder))
        job.status = JobStatus.FAILED if record is None else JobStatus.COMPLETED
        job.return_value = RunFailedError(f"{run}: {_why(run, said)}") if record is None else record.top1.last
        back.append(job)
    failures = [str(job._return_value) for job in back if job.status is JobStatus.FAILED]
    if failures:
        first = f"{len(failures)} of {len(runs)} runs have no result; the same command tries them again:"
        host.console(stderr=True).print("\n  ".join([first, *failures]), markup=False, soft_wrap=True)
    return back


def _why(run: Planned, said: Mapping[Planned, str]) -> str:
    status = run_status.read(run.folder)
    if status is None or status.identity != run.identity or status.status != "failed":
        return said.get(run, "was not run")
    logs = [run.folder / name for name in (status.log, LOG) if name]
    log = next((path for path in logs if path.exists()), "none")
    return f"{status.error}; log: {log}"
