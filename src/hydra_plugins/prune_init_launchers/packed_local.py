"""hydra/launcher=packed_local: the runs of a sweep side by side on this machine."""

from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class PackedLocalLauncher(Launcher):
    """So many runs at a time, each a process of its own, on the GPUs in turn.

    Args:
        workers: how many at a time; None: one per GPU, else one for every two cores.
    """

    def __init__(self, workers: int | None) -> None:
        from prune_init.allowed import whole

        whole(1).or_null().check("hydra.launcher.workers", workers)
        self.workers = workers

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Remember how to compose the runs."""
        self._loader: Any = hydra_context.config_loader
        self._config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run what is not done yet."""
        from prune_init.launching.local import launch

        return launch(self._loader, self._config, job_overrides, initial_job_idx, self.workers)
