"""Run the check: each stage in its own process with its own time limit, all of them within one limit.

    python -m gpu_check --out FOLDER                  # all but `hours`; with `masks train` after it, these stages alone
    python -m gpu_check --out FOLDER --quick --limit 3000    # tiny sizes: whether the check itself runs, on a CPU

Results are written to FOLDER/results.jsonl as soon as they are found, and at the end to tables in FOLDER/table.md. The
exit status is 0 if every check passed.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from gpu_check.report import RESULTS, Report, rows
from gpu_check.table import markdown


class Stage(NamedTuple):
    """The module with a function of the stage's name, the seconds that it may take, and whether it measures time."""

    module: str
    seconds: int
    timed: bool = True


STAGES = {
    "masks": Stage("masks", 100, timed=False),
    "train": Stage("training", 100, timed=False),
    "big_masks": Stage("masks", 100, timed=False),
    "paths": Stage("masks", 100, timed=False),
    "real": Stage("real", 100, timed=False),
    "env": Stage("card", 25),
    "rates": Stage("card", 25),
    "synflow": Stage("synflow", 90),
    "step": Stage("steps", 60),
    "lightning": Stage("epochs", 75),
    "compact": Stage("steps", 60),
    "together": Stage("together", 60),
    "compile": Stage("compiled", 150),
    "hours": Stage("hours", 120),
}
"""The stages. First those that measure no time, all at once; then the others one by one, in this order.

A stage is stopped at its limit; what it has found is kept, and the others go on.
"""
ASKED = ("hours",)
"""Stages that run only when they are named, because they would take too long beside the others."""
REFERENCE = "reference"
"""Runs in parallel with the stages and computes the masks of `big_masks` on the CPU."""
LEAST = 15
"""No stage is started with fewer seconds left than this."""


def main() -> None:
    """Run the chosen stages; with `--one`, in a process of its own, run that stage."""
    parser = argparse.ArgumentParser(
        prog="gpu_check", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "stages", nargs="*", metavar="STAGE", help=f"of {', '.join(STAGES)}; default: all but {', '.join(ASKED)}"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of what is found")
    parser.add_argument("--limit", type=float, default=470, help="seconds for all stages")
    parser.add_argument("--quick", action="store_true", help="tiny sizes")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        warnings.filterwarnings("ignore")
        _function(options.one)(Report(options.out, options.one), quick=options.quick)
        return
    if unknown := set(options.stages) - set(STAGES):
        parser.error(f"no such stage: {', '.join(sorted(unknown))}")
    options.out.mkdir(parents=True, exist_ok=True)
    for name in (RESULTS, "reference.pt"):  # of an earlier check
        (options.out / name).unlink(missing_ok=True)
    passed = run(
        options.stages or [name for name in STAGES if name not in ASKED],
        options.out,
        options.limit,
        quick=options.quick,
    )
    sys.exit(0 if passed else 1)


def run(stages: list[str], folder: Path, limit: float, *, quick: bool) -> bool:
    """Run the stages one after the other; return whether all checks passed."""
    beside = _start(REFERENCE, folder, quick=quick) if "big_masks" in stages else None
    try:
        _run(stages, folder, limit, quick=quick)
    finally:
        if beside is not None:
            _kill(beside)
            (folder / "reference.pt").unlink(missing_ok=True)
    found = rows(folder)
    (folder / "table.md").write_text(markdown(found))
    failed = [row for row in found if row.get("passes") is False]
    print(f"\n{sum(row.get('passes') is True for row in found)} checks passed, {len(failed)} failed")
    for row in failed:
        print("FAILED", row)
    return not failed


def _run(stages: list[str], folder: Path, limit: float, *, quick: bool) -> None:
    end = time.monotonic() + limit
    at_once = [name for name in stages if not STAGES[name].timed]
    for names in (at_once, *([name] for name in stages if STAGES[name].timed)):
        _run_at_once(names, folder, end, quick=quick)


def _run_at_once(names: list[str], folder: Path, end: float, *, quick: bool) -> None:
    """Run stages side by side, and report how each of them ended."""
    report, start = Report(folder, "done"), time.monotonic()
    if end - start < LEAST:
        for name in names:
            report.say(of=name, ended=f"not begun: {end - start:.0f} s left", seconds=0.0, passes=False)
        return
    running = {name: _start(name, folder, quick=quick) for name in names}
    for name, stage in running.items():
        own = STAGES[name].seconds * (10 if quick else 1)  # `quick` is for CPUs
        ended = _ended(stage, max(0.0, min(start + own, end) - time.monotonic()))
        report.say(of=name, ended=ended, seconds=time.monotonic() - start, passes=ended == "whole")


def _function(name: str) -> Callable[..., None]:
    module = "masks" if name == REFERENCE else STAGES[name].module
    function: Callable[..., None] = getattr(import_module(f"gpu_check.{module}"), name)
    return function


def _start(name: str, folder: Path, *, quick: bool) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "gpu_check", "--one", name, "--out", str(folder), *(["--quick"] if quick else [])]
    return subprocess.Popen(command, start_new_session=True)  # a session, so that its subprocesses end with it


def _ended(stage: "subprocess.Popen[bytes]", seconds: float) -> str:
    try:
        status = stage.wait(seconds)
    except subprocess.TimeoutExpired:
        return "stopped at its limit"
    finally:
        _kill(stage)
    return f"exit status {status}" if status else "whole"


def _kill(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


if __name__ == "__main__":
    main()
