"""Run several runs at a time, each on its share of the cores and GPUs."""

import math
import os
import signal
import time
from collections.abc import Callable, Generator, Sequence

from prune_init.host import cores
from prune_init.launching.forks import ForkServer
from prune_init.launching.plan import Planned
from prune_init.launching.process import Process, start

CLUSTER = ("SLURM_", "SLURMD_", "SUBMITIT_", "SBATCH_", "SRUN_", "PMI_", "PMIX_")
"""Prefixes of variables by which Lightning would take a run for a rank of a SLURM job."""
POLL = 0.2
LAST_WORDS = 10.0
"""Seconds between checks of the processes, and from SIGTERM to SIGKILL."""


def ended(
    runs: Sequence[Planned],
    workers: int,
    *,
    inherit: Sequence[int] = (),
    environment: dict[str, str] | None = None,
    halt: Callable[[], bool] = lambda: False,
) -> Generator[tuple[Planned, str | None]]:
    """Work through `runs`, `workers` at a time, and yield each as it ends, with the reason if it has no result.

    However this generator ends, no process is left running. One thread does it all, in short sleeps between checks,
    so a signal is noticed at the next check.

    Args:
        runs: the runs, in order.
        workers: the number of runs at a time.
        inherit: open file descriptors that the processes inherit.
        environment: further variables for all of them.
        halt: called at every check: True ends the work at once, without a verdict on unfinished runs.
    """
    waiting, slots, busy = list(reversed(runs)), list(reversed(range(workers))), list[Process]()
    variables = {key: value for key, value in os.environ.items() if not key.startswith(CLUSTER)}
    common = {"OMP_NUM_THREADS": str(max(1, cores() // workers))} | variables | (environment or {})
    gpus = visible_gpus()
    server = ForkServer(common, inherit)
    try:
        while (waiting or busy) and not halt():
            while waiting and slots:
                run, slot = waiting.pop(), slots.pop()
                try:
                    busy.append(start(run, slot, share(gpus, slot, run.devices), server))
                except OSError as error:
                    slots.append(slot)
                    yield run, f"could not be started: {error}"
            for process in [process for process in busy if process.child.poll() is not None]:
                busy.remove(process)
                slots.append(process.slot)
                if not halt():
                    yield process.run, process.error()
            time.sleep(POLL)
    finally:
        _end(busy)
        server.close()


def share(gpus: Sequence[str], slot: int, devices: int | None) -> dict[str, str]:
    """The variable that gives slot number `slot` its `devices` GPUs, round robin; empty if there are too few."""
    if devices is None or not 0 < devices <= len(gpus):
        return {}
    first = slot % (len(gpus) // devices) * devices
    return {"CUDA_VISIBLE_DEVICES": ",".join(gpus[first : first + devices])}


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name for name in given.split(",") if name]
    import torch  # takes a second, so only if no GPUs are given

    return [str(number) for number in range(torch.cuda.device_count())]


def _end(busy: list[Process]) -> None:
    for number, patience in ((signal.SIGTERM, LAST_WORDS), (signal.SIGKILL, math.inf)):
        for process in busy:
            process.signal(number)
        deadline = time.monotonic() + patience
        while any(process.child.poll() is None for process in busy) and time.monotonic() < deadline:
            time.sleep(POLL)
