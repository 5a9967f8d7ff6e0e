"""What figures show: panels of one network and data set, in them series of points, in these the runs of all seeds."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from prune_init.benchmark.finished_run import FinishedRun
from prune_init.benchmark.intervals import Interval, interval
from prune_init.report.palette import Look, look


@dataclass(frozen=True)
class Point:
    """The runs of a series at one compression."""

    exponent: float
    runs: tuple[FinishedRun, ...]

    @property
    def collapsed(self) -> int:
        """In how many of them no path is left."""
        return sum(run.record.collapsed for run in self.runs)

    def accuracy(self, which: str) -> Interval | None:
        """Over seeds, in per cent; None where no run has one."""
        values = self.accuracies(which)
        return interval(values) if values else None

    def accuracies(self, which: str) -> list[float]:
        """Of each run that has one, in per cent."""
        return [value for run in self.runs if (value := run.accuracy(which)) is not None]

    @property
    def effective_exponent(self) -> float | None:
        """Mean over the runs that have one."""
        values = [value for run in self.runs if (value := run.record.effective_exponent) is not None]
        return sum(values) / len(values) if values else None


@dataclass(frozen=True)
class Series:
    """Runs of one scorer that differ in seed and compression alone; `variant` tells it from others of that scorer."""

    scorer: str
    variant: str
    order: int
    points: tuple[Point, ...]

    @property
    def key(self) -> str:
        """A name for files and pages: the same for the same series of every panel."""
        return f"{self.scorer}: {self.variant}" if self.variant else self.scorer

    @property
    def look(self) -> Look:
        """The scorer's, with the variant in the label."""
        label, color, marker = look(self.scorer)
        return Look(f"{label} ({self.variant})" if self.variant else label, color, marker)

    @property
    def style(self) -> dict[str, Any]:
        """For matplotlib: variants of a scorer keep its colour and marker, hollow and with broken lines."""
        broken = ["-", (0, (6, 2)), (0, (2, 1)), (0, (6, 2, 1, 2))][self.order % 4]
        hollow = {"markerfacecolor": "#ffffff"} if self.order else {}
        return {"color": self.look.color, "marker": self.look.marker, "linestyle": broken, **hollow}

    @property
    def levels(self) -> int | None:
        """Of iterative magnitude pruning; None for all else."""
        levels = (self.points[0].runs[0].record.config.get("lifecycle") or {}).get("levels")
        return levels if isinstance(levels, int) else None

    def __iter__(self) -> Iterator[FinishedRun]:
        return (run for point in self.points for run in point.runs)


@dataclass(frozen=True)
class Panel:
    """All runs of one network on one data set."""

    dataset: str
    architecture: str
    series: tuple[Series, ...]

    @property
    def key(self) -> str:
        """A name for files."""
        return f"{self.dataset}-{self.architecture}"

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.architecture} on {self.dataset}"

    @cached_property
    def exponents(self) -> list[float]:
        """All compressions that were run."""
        return sorted({point.exponent for series in self.series for point in series.points})

    @property
    def runs(self) -> list[FinishedRun]:
        """In the order of the series."""
        return [run for series in self.series for run in series]

    @property
    def collapsed(self) -> bool:
        """Whether any run has."""
        return any(run.record.collapsed for run in self.runs)

    def trained(self, which: str = "last") -> bool:
        """Whether any run has such an accuracy."""
        return any(run.accuracy(which) is not None for run in self.runs)
