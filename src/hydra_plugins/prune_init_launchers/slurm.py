"""hydra/launcher=slurm and packed_slurm: sweeps on a cluster, through submitit."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus

try:
    from hydra_plugins.hydra_submitit_launcher.submitit_launcher import SlurmLauncher as Stock
except ImportError:
    from hydra_plugins.prune_init_launchers._missing import Missing as Stock

if TYPE_CHECKING:
    from prune_init.launching.plan import Planned
    from prune_init.launching.submission import Job


class SlurmLauncher(Stock):
    """The stock launcher with one job per run, but every failure is reported, and preempted jobs are requeued.

    The arguments and the code that runs in the job are the stock launcher's. Submitting and waiting are not: there the
    stock launcher asks sacct, reports only the first failure, and ignores the cluster's limits.
    """

    choice = "slurm"

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Submit the runs that are not done yet, and wait for them."""
        from prune_init.launching.cluster import launch

        loader = self.hydra_context.config_loader
        return launch(loader, self.config, job_overrides, initial_job_idx, self.params, self.jobs)

    def jobs(self, runs: "list[Planned]") -> "list[Job]":
        """One job per run, with a task for each device."""
        from prune_init.launching.submission import Job, check_tasks

        check_tasks(runs, self.params)
        state = Singleton.get_state()
        return [
            Job((run,), self, ([*run.overrides, *run.more], "hydra.sweep.dir", run.number, str(run.number), state))
            for run in runs
        ]

    def __call__(self, *arguments: Any) -> JobReturn:
        """Run in the job; raise what the run raised, so that the log has the traceback and SLURM marks it FAILED."""
        from prune_init.launching.preemption import Preemption

        with Preemption():
            done: JobReturn = super().__call__(*arguments)
        if done.status is JobStatus.FAILED:
            raise done._return_value
        return done


class PackedSlurmLauncher(SlurmLauncher):
    """Several runs per job, each in its own process.

    Args:
        runs_per_job: the number of runs in a job.
        concurrent_runs: how many of them run at a time.
        params: the stock launcher's arguments.
    """

    choice = "packed_slurm"

    def __init__(self, runs_per_job: int, concurrent_runs: int, **params: Any) -> None:
        from prune_init.allowed import whole

        super().__init__(**params)
        whole(1).check("hydra.launcher.runs_per_job", runs_per_job)
        whole(1).check("hydra.launcher.concurrent_runs", concurrent_runs)
        self._size, self._concurrent = runs_per_job, concurrent_runs

    def jobs(self, runs: "list[Planned]") -> "list[Job]":
        """Jobs of `runs_per_job` runs each."""
        from prune_init.launching.chunk import chunks

        return chunks(runs, self._size, self._concurrent, self.params)
