"""Run a sweep on this machine, several runs at a time, each in its own process."""

import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn
from omegaconf import DictConfig

from prune_init.host import cores
from prune_init.launching.lock import locked
from prune_init.launching.plan import Planned, plan
from prune_init.launching.report import bar, outcome, returns, show, summary, to_do
from prune_init.launching.workers import ended, visible_gpus


def launch(
    loader: Any, config: DictConfig, jobs: Sequence[Sequence[str]], first: int, workers: int | None
) -> list[JobReturn]:
    """Run the jobs without a result (with `force`, all), `workers` at a time; None: one per GPU, else per two cores.

    Raises:
        InputError: another launcher works in this directory, or the sweep cannot run.
    """
    said: dict[Planned, str] = {}
    start = time.monotonic()
    with locked(Path(config.hydra.sweep.dir)) as lock:
        runs = plan(loader, config, jobs, first)
        left = runs if config.force else to_do(runs)
        workers = workers or len(visible_gpus()) or max(1, cores() // 2)
        done = len(runs) - len(left)
        with bar(len(runs), done) as progress:
            progress.print(f"{len(left)} runs to do, {min(workers, len(left))} at a time")
            try:
                with closing(ended(left, workers, inherit=[lock])) as ends:
                    for number, (run, error) in enumerate(ends, done + 1):
                        said.update({} if error is None else {run: error})
                        show(progress, number)
                        progress.print(f"{run}: {error or outcome(run)}", markup=False, soft_wrap=True)
            except KeyboardInterrupt:
                raise SystemExit("interrupted; run the same command again for what is missing") from None
            progress.print(summary(runs, time.monotonic() - start))
    return returns(runs, said)
