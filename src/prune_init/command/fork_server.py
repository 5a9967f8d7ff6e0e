"""`python -m prune_init.command.fork_server HANDLE`: runs as forks of a process that has imported what a run imports.

It is asked through the socket HANDLE, a JSON value a line. A list [LOG, ENVIRONMENT, ARGUMENTS] starts the run
`python -m prune_init ARGUMENTS` and is answered by its process id, or by why there is none; a process id is answered by
its exit code, null while it lives.
The server ends when the socket is closed; runs that are at work then finish.
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
    """Answer; returns what to run in each process that is forked, and None at the end of the server."""
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
                except OSError as error:  # the machine is full; runs at work must not suffer
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
    """Be the run: the command itself, as if its interpreter had just begun."""
    with open(log, "ab") as output:  # noqa: PTH123
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    os.environ.update(environment)
    sys.argv = ["prune_init", *arguments]
    runpy.run_module("prune_init", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    if threading.active_count() > 1 or torch.cuda.is_initialized():
        sys.exit("threads and CUDA do not survive a fork")
    gc.freeze()  # what is there stays; runs need not look through it
    asked = serve(socket.socket(fileno=int(sys.argv[1])))
    if asked is not None:
        become(*asked)
