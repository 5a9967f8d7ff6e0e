"""Several runs as one element of a job array, each in its own process."""

import os
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from prune_init.errors import InputError
from prune_init.launching.plan import Planned
from prune_init.launching.preemption import Preemption
from prune_init.launching.report import to_do
from prune_init.launching.submission import Job
from prune_init.launching.workers import ended


@dataclass(frozen=True)
class Chunk:
    """The function that submitit sends to the cluster.

    After a requeue it is called again: finished runs are skipped, the others resume from their last.ckpt.
    """

    runs: tuple[Planned, ...]
    concurrent: int

    def __call__(self) -> None:
        """Run the runs without a result.

        Raises:
            RuntimeError: some runs failed; SLURM then marks the job as FAILED.
        """
        with Preemption() as preemption:
            left = to_do(self.runs)
            failed = []
            with closing(ended(left, self.concurrent, environment=_job(), halt=lambda: preemption.given)) as ends:
                for run, error in ends:
                    print(f"{run}: {error or 'done'}", flush=True)
                    failed += [run] if error else []
        if failed:
            raise RuntimeError(f"{len(failed)} of {len(left)} runs have no result; see above")

    def checkpoint(self) -> Any:
        """What submitit requeues when it is signalled: the same chunk."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def _job() -> dict[str, str]:
    """The job's number as a variable for status.json, since the runs do not get SLURM's own variables."""
    number = os.environ.get("SLURM_ARRAY_JOB_ID", os.environ.get("SLURM_JOB_ID", ""))
    element = os.environ.get("SLURM_ARRAY_TASK_ID")
    return {"PRUNE_INIT_SLURM_JOB": number if element is None else f"{number}_{element}"}


def chunks(runs: list[Planned], size: int, concurrent: int, params: Mapping[str, Any]) -> list[Job]:
    """Make jobs of `size` runs each.

    Raises:
        InputError: a job or a run needs more than one node, or a job more than one task.
    """
    for key in ("tasks_per_node", "nodes"):
        if params[key] != 1:
            why = "allowed: 1, since a job's runs share one node (hydra/launcher=slurm uses several)"
            raise InputError(f"hydra.launcher.{key}", params[key], why)
    if any(run.nodes != 1 for run in runs):
        raise InputError("trainer.num_nodes", max(run.nodes for run in runs), "needs hydra/launcher=slurm")
    groups = [tuple(runs[start : start + size]) for start in range(0, len(runs), size)]
    return [Job(group, Chunk(group, concurrent)) for group in groups]
