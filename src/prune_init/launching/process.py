"""A run as a process of the ordinary command: what kills it kills nothing else, and it can be repeated by hand."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from prune_init.errors import InputError
from prune_init.launching.plan import Planned
from prune_init.record import status as run_status

LOG = "output.log"
CLUSTER = ("SLURM_", "SLURMD_", "SUBMITIT_", "SBATCH_", "SRUN_", "PMI_", "PMIX_")
"""Variables that would make Lightning believe that the run is a rank of a SLURM job."""


@dataclass(frozen=True)
class Process:
    """A run at work; it leads a session of its own, with the ranks and loaders that it starts."""

    run: Planned
    slot: int
    popen: "subprocess.Popen[bytes]"

    def error(self) -> str | None:
        """Why the run ended without a result, recorded in its status.json; None if its result is there.

        Truth is the file: Lightning ends with exit code 0 when it is told to terminate.
        """
        run = self.run
        try:
            state = run_status.state(run.folder, run.identity)
        except InputError as error:
            return str(error)
        if state == "done":
            run.tidy()
            return None
        status = run_status.read(run.folder)
        if status and status.pid == self.popen.pid and status.status == "failed":
            return str(status.error)
        why = _why(self.popen.returncode, run.folder / LOG)
        if state != "running":  # else it is somebody else's, and this one was refused
            with suppress(OSError):  # a full disk
                run_status.fail(run.folder, run.identity, run.overrides, why, run.folder / LOG)
        return why

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the run and all that it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.popen.pid, number)


def start(run: Planned, slot: int, more: dict[str, str], inherit: Sequence[int] = ()) -> Process:
    """Start a run, its output in output.log of its folder.

    Args:
        run: which.
        slot: of those that work side by side.
        more: environment variables.
        inherit: open files that it holds too, such as a lock.

    Raises:
        OSError: the folder cannot be written to.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    environment = {key: value for key, value in os.environ.items() if not key.startswith(CLUSTER)} | more
    with (run.folder / LOG).open("ab") as log:
        popen = subprocess.Popen(
            command(run),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            pass_fds=inherit,
            start_new_session=True,
        )
    return Process(run, slot, popen)


def command(run: Planned) -> list[str]:
    """What one would type to have this run alone; the mode is given because a preset may ask for a sweep."""
    folder = str(run.folder).replace("\\", "\\\\").replace("'", "\\'")
    return [sys.executable, "-m", "prune_init", *run.arguments, f"hydra.run.dir='{folder}'", "hydra.mode=RUN"]


def _why(code: int, log: Path) -> str:
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip() if code > 0 and lines else f"ended with exit code {code} without a result"
