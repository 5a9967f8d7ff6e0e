"""hydra/launcher=packed_local: run a sweep on this machine, several runs at a time."""

from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class PackedLocalLauncher(Launcher):
    """Works on several runs at a time, each in its own process, on the GPUs in turn.

    Args:
        workers: the number of runs at a time; None: one per GPU, else one for every two cores.
    """

    def __init__(self, workers: int | None) -> None:
        from prune_init.allowed import whole

        whole(1).or_null().check("hydra.launcher.workers", workers)
        self.workers = workers

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what is needed to compose the runs."""
        self._loader: Any = hydra_context.config_loader
        self._config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the runs that are not done yet; with `force`, all."""
        from prune_init.launching.local import launch

        return launch(self._loader, self._config, job_overrides, initial_job_idx, self.workers)
