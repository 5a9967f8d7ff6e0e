"""The authors' published results, read from the tables beside this file; SOURCES.md names their sources."""

import csv
from collections import defaultdict
from functools import cache
from importlib.resources import files

from prune_init.benchmark.intervals import Interval, interval

Curve = list[tuple[float, Interval]]
"""(exponent of compression, accuracy) of each point."""


@cache
def table(name: str) -> list[dict[str, str]]:
    """The rows of the table `name`.csv."""
    with files(__name__).joinpath(f"{name}.csv").open() as file:
        return list(csv.DictReader(file))


def _of(name: str, dataset: str, architecture: str) -> list[dict[str, str]]:
    return [row for row in table(name) if (row["dataset"], row["architecture"]) == (dataset, architecture)]


def accuracy(dataset: str, architecture: str, scorer: str, which: str) -> Curve:
    """Top-1 in per cent over the published runs, of the `best` or `last` epoch; empty if none was published."""
    found: dict[float, list[float]] = defaultdict(list)
    for row in _of("accuracy", dataset, architecture):
        if row["scorer"] == scorer and row.get(which):
            found[float(row["exponent"])].append(float(row[which]))
    return [(exponent, interval(found[exponent])) for exponent in sorted(found)]


def runs(dataset: str, architecture: str, scorer: str, exponent: float) -> list[float]:
    """Best top-1 in per cent of each published run at one compression; empty if none was published."""
    rows = _of("accuracy", dataset, architecture)
    return [float(row["best"]) for row in rows if (row["scorer"], float(row["exponent"])) == (scorer, exponent)]


def scorers(dataset: str, architecture: str) -> list[str]:
    """The scorers with a published curve."""
    return list(dict.fromkeys(row["scorer"] for row in _of("accuracy", dataset, architecture)))


def lottery_ticket(dataset: str, architecture: str, levels: int) -> Curve:
    """Best top-1 in per cent of iterative magnitude pruning with `levels` levels, one run per point."""
    rows = (row for row in _of("lottery_ticket", dataset, architecture) if int(row["levels"]) == levels)
    return sorted((float(row["exponent"]), interval([float(row["best"])])) for row in rows)
