"""A run as a process of the ordinary command: if it is killed, only it dies, and it can be repeated by hand."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from prune_init.errors import InputError
from prune_init.launching.forks import Forked, ForkServer
from prune_init.launching.plan import Planned
from prune_init.record import status as run_status

LOG = "output.log"


@dataclass(frozen=True)
class Process:
    """A running run. It leads a process group, with the ranks and data loaders that it starts."""

    run: Planned
    slot: int
    child: subprocess.Popen[bytes] | Forked

    def error(self) -> str | None:
        """Why the ended run has no result, which is also recorded in its status.json; None if it has one.

        The file decides, not the exit code: Lightning exits with 0 when it is told to terminate.
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
        if status and status.pid == self.child.pid and status.status == "failed":
            return str(status.error)
        why = _why(self.child.returncode, run.folder / LOG)
        if state != "running":  # else another process works in the folder, and this run was refused
            with suppress(OSError):  # the disk may be full
                run_status.fail(run.folder, run.identity, run.overrides, why, run.folder / LOG)
        return why

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the run and all processes that it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.child.pid, number)


def start(run: Planned, slot: int, more: Mapping[str, str], server: ForkServer) -> Process:
    """Start a run, with its output in output.log in its folder.

    A run on one device is a fork of the server. Others start ranks by their own command line: new interpreters.

    Args:
        run: the run to start.
        slot: its slot among those that work side by side.
        more: environment variables of this run only.
        server: the fork server, with the environment and files common to all runs.

    Raises:
        OSError: the folder cannot be written to.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    with (run.folder / LOG).open("ab") as log:
        if run.devices == run.nodes == 1:
            with suppress(ConnectionError):
                return Process(run, slot, server.fork(arguments(run), log.name, more))
        command = [sys.executable, "-m", "prune_init", *arguments(run)]
        popen = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**server.environment, **more},
            pass_fds=server.inherit,
            start_new_session=True,
        )
    return Process(run, slot, popen)


def arguments(run: Planned) -> list[str]:
    """What to type after `python -m prune_init` to repeat this run by itself.

    It includes hydra.mode because a preset may ask for a sweep.
    """
    folder = str(run.folder).replace("\\", "\\\\").replace("'", "\\'")
    return [*run.arguments, f"hydra.run.dir='{folder}'", "hydra.mode=RUN"]


def _why(code: int | None, log: Path) -> str:
    assert code is not None  # it has ended
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip() if code > 0 and lines else f"ended with exit code {code} without a result"
