"""Hydra's sweeper over all combinations, for thousands of runs: `hydra/sweeper=one_pass`, the default here.

prune_init is imported late, since every program that uses Hydra in this environment imports all plugins.
"""

from functools import partial
from pathlib import Path

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.utils import JobReturn
from omegaconf import OmegaConf


class OnePassSweeper(BasicSweeper):
    """Plans all runs before the first starts, skips finished ones, and runs all others even if one fails.

    Hydra's own sweeper composes every job for a check before the launcher composes it again, and with `max_batch_size`
    a failure in one batch keeps the later ones from starting.
    """

    def sweep(self, arguments: list[str]) -> list[list[JobReturn]]:
        """Launch the runs that are not finished; at the end raise the first failure."""
        assert self.config is not None and self.launcher is not None and self.hydra_context is not None
        folder = Path(self.config.hydra.sweep.dir)
        left = self._not_finished(folder)
        OmegaConf.save(self.config, folder / "multirun.yaml")
        returns: list[list[JobReturn]] = []
        for number, batch in enumerate(self.split_overrides_to_chunks(left, self.max_batch_size) if left else ()):
            returns.append(list(self.launcher.launch(batch, number * (self.max_batch_size or 0))))
        for one in (one for batch in returns for one in batch):
            _ = one.return_value  # raises, if that is a failure
        return returns

    def _not_finished(self, folder: Path) -> list[list[str]]:
        """Plan and check all jobs and write the plan; return the jobs without a result (with `force`, all)."""
        from rich.progress import track

        from prune_init import host
        from prune_init.launching import plan, plan_file
        from prune_init.record import own_code, results
        from prune_init.record.status import state

        assert self.config is not None and self.hydra_context is not None
        console = host.console()
        loader, shown = self.hydra_context.config_loader, partial(track, description="planning", console=console)
        jobs = plan.all_jobs(loader, self.config)
        planned = plan.plan(loader, self.config, jobs, progress=shown)
        done = {run.folder for run in planned if state(run.folder, run.identity) == "done"}
        left = [list(run.overrides) for run in planned if run.folder not in done]
        chosen = self.config.hydra.runtime.choices.get("experiment")
        plan_file.write(folder, planned, chosen or " ".join(self.config.hydra.overrides.task))
        console.print(f"{len(jobs):,} runs, {len(jobs) - len(left):,} of them finished")
        if self.config.force:
            return jobs
        for line in (*results.lacking(done, self.config), *own_code.changed(done)):
            console.print(f"[yellow]warning:[/] {line}", soft_wrap=True)
        return left
