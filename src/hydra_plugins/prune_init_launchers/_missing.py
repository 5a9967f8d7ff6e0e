"""A stand-in for the stock launcher if submitit is not installed; Hydra skips modules whose names begin with _."""

from typing import Any, NoReturn

from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class Missing(Launcher):
    """A launcher that cannot be made: it raises an InputError that says what to install."""

    choice: str

    def __init__(self, **_: Any) -> None:
        from prune_init.errors import InputError

        raise InputError("hydra/launcher", self.choice, "needs: pip install 'prune_init[slurm]'")

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> NoReturn:
        """Never reached."""
        raise NotImplementedError

    def launch(self, job_overrides: Any, initial_job_idx: int) -> NoReturn:
        """Never reached."""
        raise NotImplementedError
