"""What the machine offers this process: terminal, environment variables, cores, devices."""

import os
import platform
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console
    from rich.table import Table

ENDLESS = 10_000
"""Width in columns of an output that is not a terminal, such as a log: nothing is cut there."""


def table(*heads: str, words: int = 1, feet: "Sequence[str]" = (), **options: Any) -> "Table":
    """An empty table for the terminal: the first `words` columns are aligned to the left, the others to the right.

    `options` are further arguments of `rich.table.Table`.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Column, Table

    columns = [Column(head, justify="left" if place < words else "right") for place, head in enumerate(heads)]
    for column, foot in zip(columns, feet, strict=False):
        column.footer = foot
    return Table(*columns, **{"box": SIMPLE_HEAD, "show_footer": bool(feet), **options})


def console(*, stderr: bool = False) -> "Console":
    """A rich console: as wide as the terminal or the variable COLUMNS, or ENDLESS if there is neither."""
    from rich.console import Console

    known = (sys.stderr if stderr else sys.stdout).isatty() or "COLUMNS" in os.environ
    return Console(stderr=stderr, highlight=False, width=None if known else ENDLESS)


@contextmanager
def environment(change: Mapping[str, str | None]) -> Iterator[None]:
    """Change environment variables inside the block (None removes one) and restore them afterwards."""

    def put(values: Mapping[str, str | None]) -> None:
        for name, value in values.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

    before = {name: os.environ.get(name) for name in change}
    put(change)
    try:
        yield
    finally:
        put(before)


def cores() -> int:
    """The number of cores that this process may use; SLURM or taskset can restrict it."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def compiler() -> str | None:
    """The C++ compiler that `torch.compile` uses on a CPU, g++ or the one that CXX names; None if it is missing."""
    return which(os.environ.get("CXX", "g++"))


def processors() -> list[str]:
    """The processor model of each core, from /proc/cpuinfo; empty where there is no such file."""
    about = Path("/proc/cpuinfo")
    lines = about.read_text().splitlines() if about.exists() else []
    return [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]


def processor() -> str:
    """The processor model."""
    return next(iter(processors()), platform.processor())


def with_float64(device: Any) -> Any:
    """`device`, a `torch.device`, or the CPU if it has no float64 (as MPS): where a model on `device` is scored."""
    import torch

    try:
        return torch.empty(0, dtype=torch.float64, device=device).device
    except TypeError:
        return torch.device("cpu")


def on_processor(trainer: Any) -> bool:
    """Whether these trainer settings mean a run without a GPU, as far as this machine can tell."""
    from torch import accelerator

    return trainer.accelerator == "cpu" or (trainer.accelerator == "auto" and not accelerator.is_available())
