"""status.json in a run's folder: that the run began, where, and why it ended without a result.

Truth about success is result.json alone: a status only says what became of a run that has none.
"""

import json
import os
import socket
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from prune_init.errors import InputError
from prune_init.explain import one_line
from prune_init.files import locked, whole
from prune_init.record import results

SCHEMA = 1
LOG = "error.log"
FILES = ("status.json", LOG)
KINDS = {
    **dict.fromkeys(("status", "identity", "started", "host", "updated"), str),
    **dict.fromkeys(("slurm_job", "error", "log"), str | None),
    **{"overrides": list, "pid": int, "process_started": int | None, "attempt": int},
}
"""What status.json holds; a file that lacks some of it says nothing."""

State = Literal["done", "running", "failed", "missing"]


def state(folder: Path, identity: str) -> State:
    """How far the run of configuration `identity` in `folder` is.

    done: result.json is there, complete and of this configuration. running: its process is alive, or is on another
    host, which cannot be asked. failed: it began and ended without a result, also by a kill. missing: it never began.

    Raises:
        InputError: result.json is torn, of another schema or of another configuration.
    """
    if results.read(folder, identity) is not None:
        return "done"
    status = read(folder)
    if status is None or status.get("identity") != identity or status.get("status") == "complete":
        return "missing"
    return "running" if status.get("status") == "running" and _alive(status) else "failed"


def read(folder: Path) -> dict[str, Any] | None:
    """The folder's status.json; None if there is none that makes sense."""
    try:
        status = json.loads((folder / "status.json").read_text())
    except (OSError, ValueError):
        return None
    ours = isinstance(status, dict) and status.get("schema") == SCHEMA
    complete = ours and all(key in status and isinstance(status[key], kind) for key, kind in KINDS.items())
    return status if complete else None


def fail(folder: Path, identity: str, overrides: Sequence[str], error: str, log: Path | None = None) -> None:
    """Record from outside why a run ended, for whoever started it as a process that left no word itself."""
    folder.mkdir(parents=True, exist_ok=True)
    before = read(folder) or {}
    began = before if before.get("identity") == identity else _begin(before, identity, overrides)
    where = None if log is None else os.path.relpath(log, folder)
    _write(folder, {**began, "status": "failed", "error": error, "log": where})


@contextmanager
def recorded(folder: Path, identity: str, overrides: Sequence[str]) -> Iterator[None]:
    """Keep status.json while the block runs; whatever ends it but its last line is a failure, also a clean exit.

    The folder is locked meanwhile. Of several ranks of one run the first does all this alone.

    Raises:
        InputError: another process is running in this folder.
    """
    if not _first_rank():
        yield
        return
    with _locked(folder):
        status = _begin(read(folder) or {}, identity, overrides)
        _write(folder, status)
        try:
            yield
        except BaseException as error:  # SystemExit too: Lightning ends so when it is told to terminate
            with suppress(OSError):  # a full disk must not hide the error
                (folder / LOG).write_text(traceback.format_exc())
                _write(folder, {**status, "status": "failed", "error": _reason(error), "log": LOG})
            raise
        (folder / LOG).unlink(missing_ok=True)
        _write(folder, {**status, "status": "complete"})


def _begin(before: dict[str, Any], identity: str, overrides: Sequence[str]) -> dict[str, Any]:
    again = before.get("identity") == identity
    return {
        "status": "running",
        "identity": identity,
        "overrides": list(overrides),
        "started": _now(),
        "pid": os.getpid(),
        "process_started": _process_started(os.getpid()),
        "host": socket.gethostname(),
        "slurm_job": os.environ.get("PRUNE_INIT_SLURM_JOB") or os.environ.get("SLURM_JOB_ID"),
        "error": None,
        "log": None,
        "attempt": before.get("attempt", 0) + 1 if again else 1,
    }


def _write(folder: Path, status: dict[str, Any]) -> None:
    with whole(folder / "status.json") as partial:
        partial.write_text(json.dumps({**status, "schema": SCHEMA, "updated": _now()}, indent=1) + "\n")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _reason(error: BaseException) -> str:
    cause = error.__context__ if isinstance(error, SystemExit) and error.__context__ is not None else error
    return one_line(cause) or " ".join(traceback.format_exception_only(cause)[-1].split())


def _first_rank() -> bool:
    """Whether this process is the first of its run, by the variables that Lightning and SLURM set, in their order."""
    ranks = (os.environ[name] for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID") if name in os.environ)
    return next(ranks, "0") == "0"


def _alive(status: dict[str, Any]) -> bool:
    """Whether the process of `status` still runs; True if it is on another host."""
    if status.get("host") != socket.gethostname():
        return True
    pid = status["pid"]
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return _process_started(pid) == status["process_started"]  # else another process has got its number


def _process_started(pid: int) -> int | None:
    """When a process began, in clock ticks since boot; None where /proc does not tell, or it is a zombie."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if state == "Z" else int(fields[18])


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process at a time."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        if not locked(handle):
            owner = read(folder) or {}
            who = f"process {owner.get('pid')} on {owner.get('host')}"
            raise InputError("hydra.run.dir", folder, f"{who} is running in it; wait, or end it")
        yield
    finally:
        os.close(handle)
