"""The speed of pruning and training, compared with a plain implementation in the published manner.

    prune-init bench --json speed.json

Both sides take turns, so that a machine that slows down slows both; times are medians of five turns (fewer, as the
table says, if a turn takes more than a minute). A ratio above 1 means that ours is faster, or needs less memory.
"""

import argparse
import logging
import subprocess
import sys
import warnings
from fnmatch import fnmatch
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.box import MARKDOWN, SIMPLE_HEAD, Box
from rich.console import Console
from rich.table import Table

from prune_init import host
from prune_init.arguments import Parser
from prune_init.benchmark.speed.cases import DEVICE, Case, cases, growths, pruning, seconds
from prune_init.benchmark.speed.machine import machine
from prune_init.benchmark.speed.utilisation import rates
from prune_init.errors import InputError, one_of
from prune_init.files import write_json
from prune_init.pruning.cost import peak

REPEATS, PATIENCE = 5, 60.0
"""Turns of a case, and the seconds that a turn may take before there are fewer."""

MEMORY = ("vgg16-cifar100", 10)
"""The net and the number of SynFlow iterations for the comparison of peak memory, each side in its own process."""


def compared(case: Case, repeats: int) -> dict[str, Any]:
    """Time both sides in turns; return a row with each turn, the medians and their ratio."""
    turns: list[tuple[dict[str, float], dict[str, float]]] = []
    while len(turns) < repeats:
        turns.append((seconds(case.ours()), seconds(case.plain())))
        if sum(side["wall"] for side in turns[0]) > PATIENCE:
            repeats = min(repeats, 1 if sum(side["wall"] for side in turns[0]) > 2 * PATIENCE else 3)
    row: dict[str, Any] = {"case": case.name, "what": case.what, "repeats": len(turns), "turns": turns}
    for kind in ("wall", "cpu"):
        ours, plain = (median(turn[side][kind] for turn in turns) for side in (0, 1))
        row |= {f"ours_{kind}": ours, f"plain_{kind}": plain, f"ratio_{kind}": plain / ours}
    return row


def grown(name: str, series: Any, repeats: int) -> list[dict[str, Any]]:
    """One row for each size: its seconds, and their ratio to the seconds of the first size."""
    rows: list[dict[str, Any]] = []
    for size, case in series:
        times: list[float] = []
        while len(times) < repeats and sum(times) < PATIENCE / 2:
            times.append(seconds(case.ours())["wall"])
        rows.append({"growth": name, "size": size, "seconds": median(times), "repeats": len(times)})
    for row in rows:
        row |= {"times_size": row["size"] / rows[0]["size"], "times_seconds": row["seconds"] / rows[0]["seconds"]}
    return rows


def peak_memory() -> dict[str, float]:
    """Peak memory of both sides in bytes: allocated on a GPU, else resident, which includes Python and torch."""
    command = [sys.executable, "-m", "prune_init.benchmark.speed", "--peak"]
    runs = (subprocess.run([*command, side], check=True, capture_output=True) for side in ("ours", "plain"))
    ours, plain = (int(run.stdout) for run in runs)
    return {"ours": ours, "plain": plain, "ratio": plain / ours}


def table(found: dict[str, Any], box: Box = SIMPLE_HEAD) -> Table:
    """The contents of the JSON file as a table."""
    about = found["machine"]
    title = f"{about['processor']}, {about['threads']} threads, torch {about['torch']}"
    heads = ("case", "what", "ours", "plain", "plain / ours", "by CPU time", "turns")
    shown = host.table(*heads, words=2, box=box, title=title)
    for row in found["cases"]:
        shown.add_row(
            row["case"], row["what"], f"{row['ours_wall']:.3g} s", f"{row['plain_wall']:.3g} s",
            f"{row['ratio_wall']:.2f}x", f"{row['ratio_cpu']:.2f}x", str(row["repeats"]),
        )  # fmt: skip
    for row in found["rates"]:
        shown.add_row(
            f"rate {row['net']}, {row['precision']}", f"batch {row['batch']}; plain: a product of two matrices",
            f"{row['flops'] / 1e9:,.0f} GFLOP/s", f"{row['product_flops'] / 1e9:,.0f} GFLOP/s", f"{row['share']:.0%}",
            "", "",
        )  # fmt: skip
    if found["memory"]:
        sizes = (f"{found['memory'][side] / 2**20:.0f} MiB" for side in ("ours", "plain"))
        what = f"synflow {MEMORY[0]}, {MEMORY[1]} iterations"
        shown.add_row("peak memory", what, *sizes, f"{found['memory']['ratio']:.2f}x", "", "1")
    for row in found["growth"]:
        what = f"{row['size']}: {row['times_size']:.3g} times the size"
        times = (f"{row['seconds']:.3g} s", "", f"{row['times_seconds']:.2f} times", "")
        shown.add_row(row["growth"], what, *times, str(row["repeats"]))
    return shown


def measured(arguments: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Measure all cases that were asked for.

    Raises:
        InputError: a pattern matches no case.
    """
    every, sizes_of = cases(quick=arguments.quick), growths(quick=arguments.quick)
    names = [*(case.name for case in every), *sizes_of, "rates", "memory"]
    for pattern in arguments.cases or ():
        if not any(_asked(name, [pattern]) for name in names):
            raise InputError("--cases", pattern, one_of(pattern, names))
    chosen = [case for case in every if _asked(case.name, arguments.cases)]
    series = {name: sizes for name, sizes in sizes_of.items() if _asked(name, arguments.cases)}
    found: dict[str, Any] = {"machine": machine(), "cases": [], "growth": [], "rates": [], "memory": None}
    for case in chosen:
        found["cases"].append(row := compared(case, arguments.repeats))
        console.print(f"{case.name}: {row['ratio_wall']:.2f}x")
    for name, sizes in series.items():
        found["growth"] += (rows := grown(name, sizes, arguments.repeats))
        console.print(f"{name}: " + ", ".join(f"{row['size']}: {row['seconds']:.3g} s" for row in rows))
    if _asked("rates", arguments.cases):
        found["rates"] = rates(quick=arguments.quick, repeats=min(arguments.repeats, 3))
    if not arguments.quick and _asked("memory", arguments.cases):
        found["memory"] = peak_memory()
    return found


def _asked(name: str, patterns: list[str] | None) -> bool:
    return patterns is None or any(fnmatch(name, f"*{pattern}*") for pattern in patterns)


def main(given: list[str] | None = None) -> None:
    """Measure, print the table and, if asked, write it as JSON."""
    parser = Parser(__doc__)
    parser.add_argument("--cases", nargs="+", help="only those with one of these patterns in their names")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--quick", action="store_true", help="small nets, two turns: to see that everything runs")
    parser.add_argument("--threads", type=int, help="of torch; default: its own choice")
    parser.add_argument("--markdown", action="store_true", help="print the table for a document")
    parser.add_argument("--json", type=Path, help="a file to write")
    parser.add_argument("--peak", choices=["ours", "plain"], help=argparse.SUPPRESS)
    parser.run(_measure, given, to="--json")


def _measure(arguments: argparse.Namespace) -> None:
    warnings.filterwarnings("ignore")
    for name in ("pytorch_lightning", "lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    if arguments.peak:
        getattr(pruning(MEMORY[0], "synflow", MEMORY[1]), arguments.peak)()()
        print(peak(DEVICE))
        return
    if arguments.quick:
        arguments.repeats = 2
    found = measured(arguments, host.console(stderr=True))
    host.console().print(table(found, MARKDOWN if arguments.markdown else SIMPLE_HEAD))
    if arguments.json:
        write_json(arguments.json, found)


if __name__ == "__main__":
    main()
