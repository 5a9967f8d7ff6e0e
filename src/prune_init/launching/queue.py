"""Query SLURM by squeue and scontrol only: sacct needs a database that not every cluster has."""

import getpass
import hashlib
import re
import subprocess
from pathlib import Path

from prune_init.errors import InputError

PATIENCE = 60
"""Seconds to wait for an answer."""


def job_name(name: str, sweep: Path) -> str:
    """The name by which a sweep's jobs are found again: `name` and a hash of the sweep's directory."""
    return f"{name}-{hashlib.sha256(str(sweep.absolute()).encode()).hexdigest()[:10]}"


def active(name: str) -> list[str] | None:
    """Waiting and running jobs and array elements of a name, as `ID STATE`; None if the controller is away."""
    try:
        said = _ask(
            "squeue", "--noheader", "--array", f"--user={getpass.getuser()}", f"--name={name}", "--format=%i %T"
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return [line.strip() for line in said.splitlines() if line.strip()]


def max_array_size() -> int:
    """The number of elements that a job array may have on this cluster.

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
