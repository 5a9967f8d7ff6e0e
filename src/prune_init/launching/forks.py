"""Runs as forks of one process: a new interpreter for each would spend seconds on the same imports."""

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
    """`prune_init.command.fork_server`, started when it is first needed; once it has died, the next run starts another.

    `multiprocessing` has one for the whole life of a process, with the environment of its first use.

    Args:
        environment: of all runs.
        inherit: open files that the runs hold too.
    """

    def __init__(self, environment: Mapping[str, str], inherit: Sequence[int] = ()) -> None:
        self.environment, self.inherit = environment, inherit
        self._connection: _Connection | None = None

    def fork(self, arguments: Sequence[str], log: str, more: Mapping[str, str]) -> "Forked":
        """Start `python -m prune_init ARGUMENTS`, its output in `log`.

        Raises:
            ConnectionError: the server has died.
            OSError: it cannot fork.
        """
        if self._connection is None or self._connection.lost:
            self._connection = _Connection(self.environment, self.inherit)
        answer = self._connection.ask([log, more, arguments])
        if isinstance(answer, str):
            raise OSError(answer)
        return Forked(self._connection, answer)

    def close(self) -> None:
        """End the server, and the runs that it still has."""
        if self._connection is not None:
            self._connection.close()


class _Connection:
    """To one server process; lost when it has died, or was interrupted in an answer."""

    def __init__(self, environment: Mapping[str, str], inherit: Sequence[int]) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._server = subprocess.Popen(
                [sys.executable, "-m", "prune_init.command.fork_server", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # where it cannot work, runs are tried without it, and say why
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
        except BaseException:  # KeyboardInterrupt too: the next answer would be that of this question
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
    """A run whose parent is the server; used as a `subprocess.Popen`."""

    def __init__(self, connection: _Connection, pid: int) -> None:
        self._connection, self.pid = connection, pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code, negative after a signal; None while it lives."""
        if self.returncode is None:
            if not self._connection.lost:
                with suppress(ConnectionError):
                    self.returncode = self._connection.ask(self.pid)
            if self._connection.lost:  # nobody can tell any more how it ends, so it ends now
                with suppress(ProcessLookupError):
                    os.killpg(self.pid, signal.SIGKILL)
                self.returncode = -signal.SIGKILL
        return self.returncode
