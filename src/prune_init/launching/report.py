"""What a sweep shows while it works and when it has ended."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from types import TracebackType

from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from prune_init.launching.plan import Planned
from prune_init.launching.process import LOG
from prune_init.record import results
from prune_init.record import status as run_status


class RunFailedError(HydraException):
    """A run of the sweep has no result."""


class Bar:
    """One bar over runs; without a terminal, a line a run."""

    def __init__(self, what: str, total: int, completed: int = 0) -> None:
        self.console = Console(highlight=False, soft_wrap=True)
        self._bar = Progress(
            TextColumn("{task.description:<8}"),
            BarColumn(bar_width=32),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self._task = self._bar.add_task(what, total=total, completed=completed, note="")

    def __enter__(self) -> "Bar":
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.stop()

    def advance(self, note: str = "") -> None:
        """One more."""
        self._bar.update(self._task, advance=1, note=note)

    def show(self, completed: int, note: str) -> None:
        """So many by now."""
        self._bar.update(self._task, completed=completed, note=note)

    def line(self, text: str) -> None:
        """A line above the bar."""
        self.console.print(text, markup=False)


def to_do(runs: Iterable[Planned]) -> list[Planned]:
    """Those without a result.

    Raises:
        InputError: a folder holds another configuration's result, or one that cannot be read.
    """
    return [run for run in runs if run_status.state(run.folder, run.identity) != "done"]


def outcome(run: Planned) -> str:
    """Of a run that is done: its last test accuracy, if it was tested, and its seconds."""
    record = results.read(run.folder, run.identity)
    assert record is not None
    tested = "" if record.top1.last is None else f"top-1 {100 * record.top1.last:.2f} %, "
    return f"done, {tested}{_duration(record.seconds.total)}"


def summary(runs: Sequence[Planned], seconds: float) -> str:
    """How many of all runs are done by now."""
    missing = len(to_do(runs))
    return f"{len(runs) - missing} done, {missing} failed, {_duration(seconds)}"


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else str(timedelta(seconds=round(seconds)))


def returns(runs: Sequence[Planned], said: Mapping[Planned, str]) -> list[JobReturn]:
    """What Hydra's sweepers take for each run, after listing those without a result: why, and where their log is.

    Args:
        runs: in the sweeper's order.
        said: what is known of runs that left no word themselves.
    """
    console, back = Console(stderr=True, highlight=False, soft_wrap=True), []
    for run in runs:
        record = results.read(run.folder, run.identity)
        job = JobReturn(overrides=run.overrides, working_dir=str(run.folder))
        job.status = JobStatus.FAILED if record is None else JobStatus.COMPLETED
        job.return_value = RunFailedError(f"{run}: {_why(run, said)}") if record is None else record.top1.last
        back.append(job)
    failures = [job._return_value for job in back if job.status is JobStatus.FAILED]
    if failures:
        console.print(f"{len(failures)} of {len(runs)} runs have no result; the same command tries them again:")
    for failure in failures:
        console.print(f"  {failure}", markup=False)
    return back


def _why(run: Planned, said: Mapping[Planned, str]) -> str:
    status = run_status.read(run.folder)
    if status is None or status.identity != run.identity or status.status != "failed":
        return said.get(run, "was not run")
    logs = [run.folder / name for name in (status.log, LOG) if name]
    log = next((path for path in logs if path.exists()), "none")
    return f"{status.error}; log: {log}"
