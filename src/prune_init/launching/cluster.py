"""Run a sweep on a SLURM cluster: submit all of it, poll squeue until it ends, and judge success by the runs' files."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn
from omegaconf import DictConfig
from rich.progress import Progress

from prune_init.errors import InputError
from prune_init.launching.lock import locked
from prune_init.launching.plan import Planned, plan
from prune_init.launching.queue import active, job_name
from prune_init.launching.report import bar, returns, show, to_do
from prune_init.launching.submission import Job, submit
from prune_init.record import status as run_status

POLL = 5.0
"""Seconds between queries of the queue."""


def launch(
    loader: Any,
    config: DictConfig,
    overrides: Sequence[Sequence[str]],
    first: int,
    params: Mapping[str, Any],
    jobs: Callable[[list[Planned]], list[Job]],
) -> list[JobReturn]:
    """Submit the runs without a result, wait until no job of the sweep is queued or running, and report.

    Args:
        loader: Hydra's config loader.
        config: the configuration of the sweep.
        overrides: the overrides of each run.
        first: the number of the first run.
        params: the stock launcher's parameters.
        jobs: makes the jobs for the runs that have no result, or refuses them.

    Raises:
        InputError: jobs of this sweep are active already, another launcher works here, or the sweep cannot run.
    """
    sweep = Path(config.hydra.sweep.dir).absolute()
    params = {**params, "name": job_name(params["name"], sweep)}
    said: dict[Planned, str] = {}
    with locked(sweep):
        _refuse_while_active(params["name"], sweep)
        runs = plan(loader, config, overrides, first)
        left = to_do(runs)
        work = jobs(left)
        with bar(len(runs), len(runs) - len(left)) as progress:
            progress.print(f"{len(left)} runs to do, in {len(work)} SLURM jobs")
            if work:
                said = _submitted(Path(params["submitit_folder"]).absolute(), params, work)
            try:
                _wait(params["name"], runs, progress)
            except KeyboardInterrupt:
                raise SystemExit(f"the jobs keep running; to cancel them: scancel --name={params['name']}") from None
    for run in left:
        if run_status.state(run.folder, run.identity) == "done":
            run.tidy()
    return returns(runs, said)


def _refuse_while_active(name: str, sweep: Path) -> None:
    there = active(name)
    if there is None:
        raise InputError("hydra/launcher", "slurm", "squeue does not answer; try again when the cluster does")
    if there:
        some = ", ".join(there[:3]) + (", ..." if len(there) > 3 else "")
        why = f"{len(there)} SLURM jobs of this sweep are active ({some}); wait, or scancel --name={name}"
        raise InputError("hydra.sweep.dir", sweep, why)


def _submitted(folder: Path, params: Mapping[str, Any], work: list[Job]) -> dict[Planned, str]:
    """Submit the jobs; return for each run what to report if the run itself records no reason for its failure.

    A refusal of the first array is raised, as nothing was submitted; runs of later ones are left to the next launch.
    """
    said: dict[Planned, str] = {}
    try:
        for array in submit(folder, params, work):
            for job, log in array:
                said |= dict.fromkeys(job.runs, f"its job ended without recording a status; log: {log}")
    except InputError as error:
        if not said:
            raise
        said |= {run: str(error) for job in work for run in job.runs if run not in said}
    return said


def _wait(name: str, runs: list[Planned], progress: Progress) -> None:
    """Wait until no job is active. If the controller does not answer, the jobs are assumed to go on."""
    unfinished = runs
    while True:
        jobs = active(name)
        unfinished = [run for run in unfinished if not (run.folder / "result.json").exists()]
        note = "SLURM does not answer"
        if jobs is not None:
            running = sum(job.endswith("RUNNING") for job in jobs)
            note = f"{running} jobs running, {len(jobs) - running} waiting" if jobs else ""
        show(progress, len(runs) - len(unfinished), note)
        if jobs == []:
            return
        time.sleep(POLL)
