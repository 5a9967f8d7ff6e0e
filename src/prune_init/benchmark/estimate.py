"""Estimate the hours that a sweep takes on this machine, from a few timed training steps of each of its nets.

    prune-init estimate experiment=figure6 pair=cifar10_vgg11 compact=true

Each net is pruned, compacted, compiled and trained for a few steps just as in the runs. The data set may be missing:
images of noise then take its place, and scorers that use data find other masks than in the runs.
"""

import argparse
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra import initialize_config_module
from rich.console import Console
from rich.table import Table

from prune_init import host
from prune_init.arguments import Parser, whole
from prune_init.benchmark.cells import Cell, cells, sweep
from prune_init.errors import InputError
from prune_init.explain import one_line
from prune_init.files import write_json

STEPS = 20


def estimates(found: list[Cell], steps: int) -> Iterator[dict[str, Any]]:
    """Yield one row for each cell once it is timed; a finished cell takes its hours from its runs."""
    from prune_init.benchmark import stand_in, timing  # Lightning: seconds, so only once the arguments are checked

    sources: dict[str, stand_in.Source] = {}
    timings: dict[str, timing.Timing] = {}
    for cell in found:
        runs, done = len(cell.folders), len(cell.done)
        row: dict[str, Any] = {"cell": cell.name, "runs": runs, "done": done}
        if done == runs:
            yield row | {"hours": sum(cell.done) / done, "left": 0.0}
            continue
        data, same = str(cell.first.dataset), timing.same(cell.first)
        if data not in sources:
            sources = {data: stand_in.source(cell.first)}  # only one at a time is kept, to save memory
        if same not in timings:
            try:
                timings[same] = timing.timed(cell.first, sources[data], steps)
            except InputError as error:  # the run would fail in the same way: a collapsed net cannot be made compact
                yield row | {"hours": None, "left": 0.0, "error": str(error)}
                continue
        hours = timings[same].total / 3600
        about = {"noise": not sources[data].real, "seconds": timings[same]._asdict()}
        yield row | {"hours": hours, "left": hours * (runs - done), "overrides": cell.overrides, **about}


def table(rows: list[dict[str, Any]]) -> Table:
    """A table with one line for each cell, and the sum."""
    runs, done, left = (sum(row[key] for row in rows) for key in ("runs", "done", "left"))
    feet = ("all", "", f"{runs:,}", f"{done:,}", f"{left:,.3g} h")
    shown = host.table("cell", "a run", "runs", "done", "left", feet=feet)
    for row in rows:
        mark = " (noise)" if row.get("noise") else f" ({row['error']})" if "error" in row else ""
        shown.add_row(row["cell"] + mark, _hours(row), f"{row['runs']}", f"{row['done']}", f"{row['left']:.3g} h")
    return shown


def _hours(row: dict[str, Any]) -> str:
    return "fails" if row["hours"] is None else f"{row['hours']:.3g} h"


def measured(arguments: argparse.Namespace, progress: Console) -> dict[str, Any]:
    """Estimate every cell; return the rows, cheapest first, and the machine that they hold for.

    Raises:
        InputError: a value cannot work (SystemExit: every cell fails).
        hydra.errors.HydraException: the overrides cannot be composed.
    """
    with initialize_config_module("prune_init.conf", version_base="1.3"):
        found = cells(*sweep(arguments.overrides))
        from prune_init.benchmark.speed.machine import machine

        load = os.getloadavg()[0]  # before the measurement adds to it
        rows = []
        for row in estimates(found, arguments.steps):
            rows.append(row)
            progress.print(f"{len(rows)}/{len(found)} {row['cell']}: {_hours(row)}", soft_wrap=True)
    if all("error" in row for row in rows):
        raise SystemExit(rows[0]["error"])
    return {
        "machine": machine() | {"load": load},
        "cells": sorted(rows, key=lambda row: (row["hours"] or math.inf, row["cell"])),
    }


def main(given: list[str] | None = None) -> None:
    """Estimate, print the table and, if asked, write it as JSON."""
    parser = Parser(__doc__)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="as a run takes them")
    parser.add_argument(
        "-m", "--multirun", action="store_true", help="accepted, but not needed: every estimate is of a sweep"
    )
    parser.add_argument("--steps", type=whole(1), default=STEPS, help=f"training steps to time; default: {STEPS}")
    parser.add_argument("--json", type=Path, help="a file to write")
    parser.run(_estimate, given, to="--json")


def _estimate(arguments: argparse.Namespace) -> None:
    try:
        found = measured(arguments, host.console(stderr=True))
    except Exception as error:
        line = one_line(error)
        if line is None:
            raise
        sys.exit(line)
    console, about = host.console(), found["machine"]
    console.print(table(found["cells"]))
    console.print(
        f"{about['gpu'] or about['processor']}, {about['threads']} threads, torch {about['torch']}, {about['date']}"
    )
    if (note := busy(about["load"], about["threads"], host.cores())) is not None:
        console.print(note)
    if arguments.json:  # last, so that the measurement is shown even if it cannot be written
        write_json(arguments.json, found)


def busy(load: float, threads: int, cores: int) -> str | None:
    """A note on an estimate made while other processes kept the cores busy, which slows down all; None if idle."""
    if load + threads <= cores:
        return None
    busy = f"The machine was busy (load {load:.1f}, {cores} cores)"
    return f"{busy}: the estimate is too high; repeat it when the machine is idle."


if __name__ == "__main__":
    main()
