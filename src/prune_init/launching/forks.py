"""Start runs as forks of one process: a new interpreter for each would spend seconds on the same imports."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any


class ForkServer:
    """A client of `prune_init.command.fork_server`, which it starts when needed, and again after the server has died.

    `multiprocessing` has a fork server too, but only one per process, with the environment of its first use.

    Args:
        environment: the environment variables of all runs.
        inherit: open file descriptors that the runs inherit.
    """

    def __init__(self, environment: Mapping[str, str], inherit: Sequence[int] = ()) -> None:
        self.environment, self.inherit = environment, inherit
        self._connection: _Connection | None = None

    def fork(self, arguments: Sequence[str], log: str, more: Mapping[str, str]) -> "Forked":
        """Start `python -m prune_init ARGUMENTS`, its output in `log`, with `more` environment variables.

        Raises:
            ConnectionError: the server has died.
            OSError: the server cannot fork.
        """
        if self._connection is None or self._connection.lost:
            self._connection = _Connection(self.environment, self.inherit)
        answer = self._connection.ask([log, more, arguments])
        if isinstance(answer, str):
            raise OSError(answer)
        return Forked(self._connection, answer)

    def close(self) -> None:
        """Kill the server. A run that it still has ends at its next `poll`."""
        if self._connection is not None:
            self._connection.close()


class _Connection:
    """A connection to one server process; `lost` once the server has died or an exchange was interrupted."""

    def __init__(self, environment: Mapping[str, str], inherit: Sequence[int]) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._server = subprocess.Popen(
                [sys.executable, "-m", "prune_init.command.fork_server", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # if it fails, runs start without it and show the reason
                env=environment,
                pass_fds=(theirs.fileno(), *inherit),
                start_new_session=True,
            )
        with ours:
            self._stream = ours.makefile("rw")
        self.lost = False

    def ask(self, what: Any) -> Any:
        try:
            self._stream.write(f"{json.dumps(what)}\n")
            self._stream.flush()
            answer = self._stream.readline()
            if not answer:
                raise ConnectionError("the fork server has died")
        except BaseException:  # KeyboardInterrupt too: else the next question would get this answer
            self.close()
            raise
        return json.loads(answer)

    def close(self) -> None:
        self.lost = True
        self._server.kill()
        self._server.wait()
        with suppress(OSError):
            self._stream.close()


class Forked:
    """A run that is a child of the server; it stands in for a `subprocess.Popen`."""

    def __init__(self, connection: _Connection, pid: int) -> None:
        self._connection, self.pid = connection, pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code, negative after a signal; None while the run lives."""
        if self.returncode is None:
            if not self._connection.lost:
                with suppress(ConnectionError):
                    self.returncode = self._connection.ask(self.pid)
            if self._connection.lost:  # its exit code can no longer be known, so it is ended now
                with suppress(ProcessLookupError):
                    os.killpg(self.pid, signal.SIGKILL)
                self.returncode = -signal.SIGKILL
        return self.returncode
