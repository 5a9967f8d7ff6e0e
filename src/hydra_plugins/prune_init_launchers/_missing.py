"""In place of the stock launcher where submitit is not installed; Hydra does not look into modules named like this."""

from typing import Any, NoReturn

from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class Missing(Launcher):
    """Says what to install."""

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
