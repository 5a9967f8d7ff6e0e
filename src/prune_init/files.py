"""Files that are there only when they are whole, and locks."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Another name beside `path` to write to; the file is renamed to `path` at the end, and removed on failure."""
    partial = path.with_name(f"partial.{path.name}")
    partial.touch()
    mode = partial.stat().st_mode  # the user's umask; safetensors would let nobody else read its files
    try:
        yield partial
        partial.chmod(mode)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    partial.replace(path)


def write(path: Path, text: str) -> None:
    """The file `path` with this text, or as it was."""
    with whole(path) as partial:
        partial.write_text(text)


def locked(handle: int) -> bool:
    """Take the kernel's lock on an open file or folder; returns whether it was free.

    The lock ends with the process, however that ends. A file system without locks is always free.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True
