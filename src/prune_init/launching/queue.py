"""What SLURM says, from squeue and scontrol alone: sacct needs a database that not every cluster has."""

import getpass
import hashlib
import re
import subprocess
from pathlib import Path

from prune_init.errors import InputError

PATIENCE = 60
"""Seconds to wait for an answer."""


def job_name(name: str, sweep: Path) -> str:
    """The name of a sweep's jobs, by which they are found again: `name` and a hash of the sweep's directory."""
    return f"{name}-{hashlib.sha256(str(sweep.absolute()).encode()).hexdigest()[:10]}"


def active(name: str) -> list[str] | None:
    """Jobs and array elements of that name that wait or run, as `ID STATE`; None if the controller does not answer."""
    try:
        said = _ask(
            "squeue", "--noheader", "--array", f"--user={getpass.getuser()}", f"--name={name}", "--format=%i %T"
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return [line.strip() for line in said.splitlines() if line.strip()]


def max_array_size() -> int:
    """How many elements a job array may have here.

    Raises:
        InputError: there is no SLURM, or it does not answer.
    """
    try:
        found = re.search(r"^MaxArraySize\s*=\s*(\d+)", _ask("scontrol", "show", "config"), re.MULTILINE)
    except (OSError, subprocess.SubprocessError) as error:
        why = getattr(error, "stderr", None) or error
        raise InputError("hydra/launcher", "slurm", f"SLURM does not answer ({str(why).strip()})") from None
    if found is None:
        raise InputError("hydra/launcher", "slurm", "scontrol show config does not name MaxArraySize")
    return int(found[1])


def _ask(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE).stdout
