"""Files that appear only when they are complete, and file locks."""

import csv
import fcntl
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` to write to; it is renamed to `path` at the end, and removed on failure."""
    partial = path.with_name(f"partial.{path.name}")
    try:
        partial.touch()
    except OSError as error:
        error.filename = str(path)  # the name that the user knows
        raise
    mode = partial.stat().st_mode  # as the user's umask has it; safetensors' own files are readable by the owner alone
    try:
        yield partial
        partial.chmod(mode)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    partial.replace(path)


def write(path: Path, text: str) -> None:
    """Write `text` to `path`, in UTF-8 whatever the locale; if that fails, `path` is left as it was."""
    with whole(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, content: object) -> None:
    """Write `content` to `path` as JSON; if that fails, `path` is left as it was."""
    write(path, json.dumps(content, indent=1) + "\n")


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write one line per row (there must be at least one); None and columns that a row lacks are left empty."""
    longest = max(rows, key=len)
    columns = [*longest, *sorted({name for row in rows for name in row} - longest.keys())]
    with whole(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def locked(handle: int) -> bool:
    """Try to take the kernel's lock on an open file or folder, without waiting; return whether it was free.

    The lock ends with the process, however that ends. On a file system without locks it always counts as free.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True
