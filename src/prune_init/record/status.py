"""status.json in a run's folder: that the run began, where, and why it ended without a result.

Only result.json tells whether a run succeeded; the status says what happened to a run that has no result.
"""

import json
import os
import socket
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from prune_init.errors import InputError
from prune_init.explain import one_line
from prune_init.files import locked, write_json
from prune_init.record import results
from prune_init.record.run_record import Part

SCHEMA = 1
LOG = "error.log"
FILES = ("status.json", LOG)


class RunStatus(Part):
    """The fields of status.json; a file that lacks any of them is ignored."""

    status: Literal["running", "failed", "complete"]
    identity: str
    """Identity of the configuration."""
    overrides: list[str]
    """The overrides as they were typed."""
    started: str
    """When this attempt began: UTC, ISO 8601."""
    pid: int
    process_started: int | None
    """Start of the process in clock ticks since boot, since a `pid` may be used again; None if unknown."""
    host: str
    slurm_job: str | None
    error: str | None
    """The error in one line."""
    log: str | None
    """File with the details, relative to the folder."""
    attempt: int
    """Number of this attempt, from 1."""
    updated: str
    """When the file was last written, in the format of `started`."""


State = Literal["done", "running", "failed", "missing"]


def state(folder: Path, identity: str) -> State:
    """The state of the run with configuration `identity` in `folder`.

    done: result.json exists, is complete and belongs to this configuration. running: its process is alive, or is on
    another host, where this cannot be checked. failed: it began and ended without a result, for example when killed.
    missing: it never began.

    Raises:
        InputError: result.json is damaged, has another schema or belongs to another configuration.
    """
    if results.read(folder, identity) is not None:
        return "done"
    status = read(folder)
    if status is None or status.identity != identity or status.status == "complete":
        return "missing"
    return "running" if status.status == "running" and _alive(status) else "failed"


def read(folder: Path) -> RunStatus | None:
    """Read the folder's status.json; None if there is no valid one."""
    try:
        row = json.loads((folder / "status.json").read_text())
        ours = isinstance(row, dict) and row.pop("schema", None) == SCHEMA
        return RunStatus.model_validate(row) if ours else None
    except (OSError, ValueError, RecursionError):  # pydantic's own error is a ValueError
        return None


def fail(folder: Path, identity: str, overrides: Sequence[str], error: str, log: Path | None = None) -> None:
    """Record why a run failed that could not do so itself; called by the process that started it."""
    folder.mkdir(parents=True, exist_ok=True)
    before = read(folder)
    began = before if before and before.identity == identity else _begin(before, identity, overrides)
    where = None if log is None else os.path.relpath(log, folder)
    _write(folder, began, status="failed", error=error, log=where)


@contextmanager
def recorded(folder: Path, identity: str, overrides: Sequence[str]) -> Iterator[None]:
    """Keep status.json up to date while the block runs; any exception counts as a failure, SystemExit included.

    The folder is locked meanwhile. If a run has several ranks, only the first one does all this.

    Raises:
        InputError: another process is running in this folder.
    """
    if not _first_rank():
        yield
        return
    with _locked(folder):
        status = _begin(read(folder), identity, overrides)
        _write(folder, status)
        try:
            yield
        except BaseException as error:  # SystemExit too, with which Lightning ends on SIGTERM
            with suppress(OSError):  # a full disk must not hide the error
                (folder / LOG).write_text(traceback.format_exc())
                _write(folder, status, status="failed", error=_reason(error), log=LOG)
            raise
        (folder / LOG).unlink(missing_ok=True)
        _write(folder, status, status="complete")


def _begin(before: RunStatus | None, identity: str, overrides: Sequence[str]) -> RunStatus:
    return RunStatus(
        status="running",
        identity=identity,
        overrides=list(overrides),
        started=_now(),
        pid=os.getpid(),
        process_started=_process_started(os.getpid()),
        host=socket.gethostname(),
        slurm_job=os.environ.get("PRUNE_INIT_SLURM_JOB") or os.environ.get("SLURM_JOB_ID"),
        error=None,
        log=None,
        attempt=before.attempt + 1 if before and before.identity == identity else 1,
        updated=_now(),
    )


def _write(folder: Path, told: RunStatus, **changes: str | None) -> None:
    write_json(folder / "status.json", {**told.model_dump(), **changes, "schema": SCHEMA, "updated": _now()})


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _reason(error: BaseException) -> str:
    cause = error.__context__ if isinstance(error, SystemExit) and error.__context__ is not None else error
    return one_line(cause) or " ".join(traceback.format_exception_only(cause)[-1].split())


def _first_rank() -> bool:
    """Whether this process is the first rank of its run, by the variables that Lightning and SLURM set."""
    ranks = (os.environ[name] for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID") if name in os.environ)
    return next(ranks, "0") == "0"


def _alive(status: RunStatus) -> bool:
    """Whether the process of `status` is still running; True if it is on another host."""
    if status.host != socket.gethostname():
        return True
    pid = status.pid
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return _process_started(pid) == status.process_started  # else another process has this pid now


def _process_started(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None if there is no /proc, or if it is a zombie."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if state == "Z" else int(fields[18])


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock inside the block; refuse to enter it if another process holds it."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        if not locked(handle):
            owner = read(folder)
            who = f"process {owner.pid} on {owner.host}" if owner else "another process"
            raise InputError("hydra.run.dir", folder, f"{who} is running in it; wait, or end it")
        yield
    finally:
        os.close(handle)
