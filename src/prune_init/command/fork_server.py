"""`python -m prune_init.command.fork_server HANDLE`: runs as forks of a process that has imported what a run imports.

Requests come through the socket HANDLE, one JSON value per line. A list [LOG, ENVIRONMENT, ARGUMENTS] starts the run
`python -m prune_init ARGUMENTS`; the answer is its process id, or the reason why it could not be started. A process id
is answered with the exit code of that process, null while it is alive.
The server ends when the socket is closed; runs in progress are finished.
"""

import gc
import json
import os
import runpy
import socket
import sys
import threading

import torch

from prune_init.command import entry, experiment, preflight  # noqa: F401


def serve(connection: socket.socket) -> tuple[str, dict[str, str], list[str]] | None:
    """Answer requests; return what to run in each forked process, and None in the server when the socket is closed."""
    with connection, connection.makefile("rw") as stream:
        for line in iter(stream.readline, ""):
            asked = json.loads(line)
            answer: int | str | None
            if isinstance(asked, int):
                ended, status = os.waitpid(asked, os.WNOHANG)
                answer = os.waitstatus_to_exitcode(status) if ended else None
            else:
                try:
                    answer = pid = os.fork()
                except OSError as error:  # out of memory or processes; runs in progress must not suffer
                    answer = str(error)
                else:
                    if pid == 0:
                        log, environment, arguments = asked
                        return log, environment, arguments
                    os.setpgid(pid, pid)  # so that a signal can be sent to the run and all that it starts
            stream.write(f"{json.dumps(answer)}\n")
            stream.flush()
    return None


def become(log: str, environment: dict[str, str], arguments: list[str]) -> None:
    """Run the command in this process, as if its interpreter had just started."""
    with open(log, "ab") as output:  # noqa: PTH123
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    os.environ.update(environment)
    sys.argv = ["prune_init", *arguments]
    runpy.run_module("prune_init", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    if threading.active_count() > 1 or torch.cuda.is_initialized():
        sys.exit("threads and CUDA do not survive a fork")
    gc.freeze()  # what is imported stays; garbage collection in runs can skip it
    asked = serve(socket.socket(fileno=int(sys.argv[1])))
    if asked is not None:
        become(*asked)
