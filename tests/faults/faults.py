"""Deliberate faults inside a run, whose process imports this module through PYTHONPATH."""

import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from prune_init.pruning.masks import Tensors
from prune_init.pruning.scored_net import ScoredNet
from prune_init.scorers.magnitude import Magnitude


@dataclass(frozen=True)
class Explodes(Magnitude):
    """Raises an exception while scoring."""

    def __call__(self, net: ScoredNet) -> Tensors:
        raise RuntimeError("the scorer exploded")


@dataclass(frozen=True)
class Leaves(Magnitude):
    """Ends the process at once while scoring."""

    def __call__(self, net: ScoredNet) -> Tensors:
        print("on my way out", flush=True)
        os._exit(7)


class Plain(Magnitude):
    """Works without a fault."""


@dataclass(frozen=True)
class Deadly(Magnitude):
    """Kills its process while scoring, the first time only."""

    def __call__(self, net: ScoredNet) -> Tensors:
        die_once("scoring")
        return super().__call__(net)


@dataclass(frozen=True)
class Waits(Magnitude):
    """Scores only when the file `go` exists."""

    def __call__(self, net: ScoredNet) -> Tensors:
        wait()
        return super().__call__(net)


def wait() -> None:
    """Leave a file that says this process is waiting, and wait until the file `go` exists."""
    folder = Path(os.environ["FAULTS"])
    (folder / f"waiting.{os.getpid()}").touch()
    while not (folder / "go").exists():
        time.sleep(0.05)


def die_once(name: str) -> None:
    """Kill this process with SIGKILL the first time that this is called with `name`."""
    marker = Path(os.environ["FAULTS"]) / f"died.{name}"
    try:
        marker.touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def before_rename(name: str, times: int, act: Callable[[], None]) -> None:
    """Act when a file is about to be renamed to `name` for the n-th time: it is written, but not yet in place."""
    seen = 0

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal seen
        if event == "os.rename" and Path(os.fsdecode(arguments[1])).name == name:  # type: ignore[arg-type]
            seen += 1
            if seen == times:
                act()

    sys.addaudithook(hook)
