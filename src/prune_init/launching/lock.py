"""One launcher per directory."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prune_init import files
from prune_init.errors import InputError

NAME = ".launcher.lock"


@contextmanager
def locked(folder: Path) -> Iterator[int]:
    """Hold the lock of `folder` and yield its open file.

    It is the kernel's lock on the file, not the file, that counts: a process that dies lets go of it, so no lock is
    ever stale. Runs that inherit the open file hold the lock too: a launcher that was killed leaves it to them.

    Raises:
        InputError: somebody else holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder / NAME, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if not files.locked(handle):
            owner = os.read(handle, 1000).decode(errors="replace").strip() or "another launcher"
            raise InputError(
                "hydra.sweep.dir", folder, f"{owner}, or runs that it started, work here; wait, or end them"
            )
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        yield handle
    finally:
        os.close(handle)
