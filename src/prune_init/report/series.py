"""The data of figures: a panel has series, a series has points, a point has a run of each seed."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import Any

from prune_init.benchmark.finished_run import FinishedRun
from prune_init.benchmark.intervals import Interval, interval
from prune_init.report.palette import Look, look


def _spelled(name: str, allowed: str = "") -> str:
    """A name with every other character than letters, digits, `_`, `.`, `+` and `allowed` as its code, like `=20=`."""
    return re.sub(rf"[^\w.+{allowed}]", lambda found: f"={ord(found[0]):x}=", name)


@dataclass(frozen=True)
class Point:
    """The runs of a series at one compression."""

    exponent: float
    runs: tuple[FinishedRun, ...]
    repeats: tuple[FinishedRun, ...] = ()
    """Further runs of the same seeds, which no figure draws; see `prune_init.benchmark.variants.Group`."""

    @property
    def collapsed(self) -> int:
        """The number of runs in which no path is left."""
        return sum(run.record.collapsed for run in self.runs)

    def accuracy(self, which: str) -> Interval | None:
        """The interval over seeds, in per cent; None if no run has this accuracy."""
        values = self.accuracies(which)
        return interval(values) if values else None

    def accuracies(self, which: str) -> list[float]:
        """The accuracy of each run that has one, in per cent."""
        return [value for run in self.runs if (value := run.accuracy(which)) is not None]

    def part(self, which: str, *, effective: bool) -> "Point | None":
        """The runs with this accuracy and, if `effective`, with an effective compression, at its mean; None if none."""
        found = [
            (run, x)
            for run in self.runs
            if run.accuracy(which) is not None
            and (x := run.record.effective_exponent if effective else self.exponent) is not None
        ]
        if not found:
            return None
        return Point(fmean(x for _, x in found) if effective else self.exponent, tuple(run for run, _ in found))


@dataclass(frozen=True)
class Series:
    """Runs of one scorer that differ only in seed and compression; `variant` names it among the scorer's series."""

    scorer: str
    variant: str
    order: int
    points: tuple[Point, ...]

    @property
    def key(self) -> str:
        """A name for files and pages; a series has the same key in every panel."""
        return f"{self.scorer}: {self.variant}" if self.variant else self.scorer

    @property
    def look(self) -> Look:
        """The scorer's look, with the variant in the label."""
        label, color, marker = look(self.scorer)
        return Look(f"{label} ({self.variant})" if self.variant else label, color, marker)

    @property
    def style(self) -> dict[str, Any]:
        """Arguments of matplotlib's plot: further variants of a scorer have hollow markers and broken lines."""
        broken = ["-", (0, (6, 2)), (0, (2, 1)), (0, (6, 2, 1, 2))][self.order % 4]
        hollow = {"markerfacecolor": "#ffffff"} if self.order else {}
        return {"color": self.look.color, "marker": self.look.marker, "linestyle": broken, **hollow}

    @property
    def levels(self) -> int | None:
        """The number of levels of iterative magnitude pruning; None for all other methods."""
        levels = (self.points[0].runs[0].record.config.get("lifecycle") or {}).get("levels")
        return levels if isinstance(levels, int) else None

    def __iter__(self) -> Iterator[FinishedRun]:
        return (run for point in self.points for run in (*point.runs, *point.repeats))


@dataclass(frozen=True)
class Panel:
    """All runs of one network on one data set."""

    dataset: str
    architecture: str
    series: tuple[Series, ...]

    @property
    def key(self) -> str:
        """A name for files and pages, without spaces and slashes."""
        # The last hyphen ends the data set's name: "a-b" with "c" is not "a" with "b-c".
        return f"{_spelled(self.dataset, '-')}-{_spelled(self.architecture)}"

    @property
    def title(self) -> str:
        """The title of the panel in figures."""
        return f"{self.architecture} on {self.dataset}"

    @cached_property
    def exponents(self) -> list[float]:
        """The exponents of all compressions that were run."""
        return sorted({point.exponent for series in self.series for point in series.points})

    @property
    def runs(self) -> list[FinishedRun]:
        """All runs, repeats too, in the order of the series."""
        return [run for series in self.series for run in series]

    @property
    def collapsed(self) -> bool:
        """Whether any run that figures draw has collapsed."""
        return any(point.collapsed for series in self.series for point in series.points)

    def trained(self, which: str = "last") -> bool:
        """Whether any run has the accuracy `which`."""
        return any(run.accuracy(which) is not None for run in self.runs)
