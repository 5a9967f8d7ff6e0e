"""Shared parts of the tests of launchers: small runs, and a sweep in a process of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

FAULTS = Path(__file__).parent / "faults"
PRUNED = ("architecture=mlp", "scorer=magnitude", "train=false", "trainer=cpu")
TRAINED = ("architecture=mlp", "scorer=magnitude", "recipe.epochs=2", "recipe.batch_size=1000", "trainer=cpu")
PATIENCE = 300
"""Seconds until a test gives up waiting; long, because machines can be busy."""


class Sweep:
    """A process of `python -m prune_init -m ...` that can import `faults`, which get the folder for their files."""

    def __init__(self, folder: Path, *arguments: str, **environment: str) -> None:
        self.folder = folder
        paths = os.pathsep.join(path for path in (str(FAULTS), os.environ.get("PYTHONPATH")) if path)
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "prune_init", "-m", f"results={folder}", *arguments],
            env={**os.environ, "PYTHONPATH": paths, "FAULTS": str(folder.parent), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.out = self.err = ""

    def end(self) -> int:
        """Wait for the end of the sweep; return its exit code."""
        self.out, self.err = self.popen.communicate(timeout=PATIENCE)
        return self.popen.returncode

    def kill(self) -> None:
        """Kill only the launcher, with SIGKILL."""
        self.popen.send_signal(signal.SIGKILL)
        self.popen.communicate()


def rows(folder: Path) -> list[dict[str, Any]]:
    """All results below `folder`, sorted by seed."""
    found = [json.loads(path.read_text()) for path in folder.rglob("result.json")]
    return sorted(found, key=lambda row: row["seed"])


def attempts(folder: Path) -> list[int]:
    """How often each run was started, sorted."""
    return sorted(json.loads(path.read_text())["attempt"] for path in folder.rglob("status.json"))


def torn(folder: Path) -> list[Path]:
    """Files that were not written completely."""
    return [path for path in folder.rglob("partial.*") if ".submitit" not in path.parts]


def wait_until(true: Callable[[], object], what: str) -> None:
    """Wait until `true()`; fail after PATIENCE."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.1)
