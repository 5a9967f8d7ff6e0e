"""Submit job arrays through submitit, in sizes that the cluster allows."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prune_init.errors import InputError
from prune_init.launching.plan import Planned
from prune_init.launching.queue import max_array_size

FOR_EVERY_EXECUTOR = ("timeout_min", "cpus_per_task", "gpus_per_node", "tasks_per_node", "mem_gb", "nodes", "name")
"""Settings that submitit takes without the prefix slurm_."""


@dataclass(frozen=True)
class Job:
    """One element of a job array: the function to call, its arguments, and the runs that it makes."""

    runs: tuple[Planned, ...]
    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()


def submit(folder: Path, params: Mapping[str, Any], jobs: Sequence[Job]) -> Iterator[list[tuple[Job, Path]]]:
    """Submit all jobs, in as few arrays as MaxArraySize allows; yield the jobs of each array with their logs.

    Args:
        folder: the folder for submitit's files; %j stands for the job's number.
        params: the stock launcher's parameters: resources, and max_num_timeout.
        jobs: the jobs, in order.

    Raises:
        InputError: SLURM refuses an array.
    """
    import submitit
    from submitit.core.utils import FailedJobError

    most = max_array_size()
    arrays = [jobs[start : start + most] for start in range(0, len(jobs), most)]
    settings = {
        key if key in FOR_EVERY_EXECUTOR else f"slurm_{key}": value
        for key, value in params.items()
        if key not in ("max_num_timeout", "submitit_folder")
    }
    settings["slurm_array_parallelism"] = max(1, params["array_parallelism"] // len(arrays))
    executor = submitit.AutoExecutor(folder, cluster="slurm", slurm_max_num_timeout=params["max_num_timeout"])
    executor.update_parameters(**settings)
    for array in arrays:
        try:
            with executor.batch():
                sent = [executor.submit(job.function, *job.arguments) for job in array]
        except FailedJobError as error:
            raise InputError("hydra/launcher", "slurm", f"not submitted ({' '.join(str(error).split())})") from None
        yield [(job, Path(handle.paths.stderr)) for job, handle in zip(array, sent, strict=True)]


def check_tasks(runs: Sequence[Planned], params: Mapping[str, Any]) -> None:
    """Refuse jobs whose tasks do not match the devices of their runs: each task is one of Lightning's ranks.

    Raises:
        InputError: they do not match; it names the setting and what the trainer needs.
    """
    for run in runs:
        if run.devices is None:
            raise InputError("trainer.devices", "auto", "allowed with hydra/launcher=slurm: a number")
        for key, needed in {"tasks_per_node": run.devices, "nodes": run.nodes}.items():
            if params[key] != needed:
                raise InputError(f"hydra.launcher.{key}", params[key], f"the trainer of {run} needs {needed}")
