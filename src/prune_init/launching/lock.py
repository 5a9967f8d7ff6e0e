"""A lock that admits one launcher per directory."""

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
    """Hold the lock of `folder` and yield the descriptor of its file.

    What counts is the kernel's lock on the file, not the file: the kernel releases it when its holders die, so that it
    is never stale. Runs that inherit the descriptor hold the lock too, even after their launcher was killed.

    Raises:
        InputError: another process holds the lock.
    """
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder / NAME, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if not files.locked(handle):
            owner = os.read(handle, 1000).decode(errors="replace").strip() or "another launcher"
            raise InputError(
                "hydra.sweep.dir",
                folder,
                f"{owner} or runs that it started are working here; wait for them, or end them",
            )
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        yield handle
    finally:
        os.close(handle)
