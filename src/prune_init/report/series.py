"""Which runs belong together: panels of one network and data set, and in each the series that differ in one thing.

Runs are averaged over seeds only. Any other difference of their configurations makes another series, named by it.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from prune_init.report.intervals import Interval, interval
from prune_init.report.palette import Look, look, rank
from prune_init.report.runs import Run
from prune_init.settings import PLACES_WITHIN

AVERAGED = ("seed", "sparsity", "exponent")
"""Keys of a configuration that do not make another series."""


@dataclass(frozen=True)
class Point:
    """The runs of a series at one compression."""

    exponent: float
    runs: tuple[Run, ...]

    @property
    def collapsed(self) -> int:
        """In how many of them no path is left."""
        return sum(run.collapsed for run in self.runs)

    def accuracy(self, which: str) -> Interval | None:
        """Over seeds, in per cent; None where no run has one."""
        values = [value for run in self.runs if (value := run.accuracy(which)) is not None]
        return interval(values) if values else None

    @property
    def effective_exponent(self) -> float | None:
        """Mean over the runs that have one."""
        values = [value for run in self.runs if (value := run.effective_exponent) is not None]
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

    def __iter__(self) -> Iterator[Run]:
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
    def runs(self) -> list[Run]:
        """In the order of the series."""
        return [run for series in self.series for run in series]

    def trained(self, which: str = "last") -> bool:
        """Whether any run has such an accuracy."""
        return any(run.accuracy(which) is not None for run in self.runs)


def panels(runs: Iterable[Run]) -> list[Panel]:
    """Runs by data set and network, those with most runs first."""
    members: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for run in runs:
        members[run.row["dataset"], run.row["architecture"]].append(run)
    largest = sorted(members.items(), key=lambda item: (-len(item[1]), item[0]))
    return [Panel(*key, tuple(_series(inside))) for key, inside in largest]


def _series(runs: list[Run]) -> Iterator[Series]:
    by_scorer: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        by_scorer[run.row["scorer"]].append(run)
    for scorer, members in sorted(by_scorer.items(), key=lambda item: rank(item[0])):
        for order, (variant, same) in enumerate(_variants(members)):
            at: dict[float, list[Run]] = defaultdict(list)
            for run in same:
                at[round(run.row["exponent"], 4)].append(run)
            yield Series(scorer, variant, order, tuple(Point(x, tuple(at[x])) for x in sorted(at)))


def _variants(runs: list[Run]) -> list[tuple[str, list[Run]]]:
    """Runs of one scorer by all that differs between them, the most frequent and plainest first, each with a name."""
    flat = [dict(_settings(run.row["config"])) for run in runs]
    every = dict.fromkeys(key for settings in flat for key in settings)
    varying = [key for key in every if len({repr(settings.get(key)) for settings in flat}) > 1]
    # The name of a group's choice speaks for all keys in the group.
    chosen = {key.removesuffix("name") for key in varying if key.endswith(".name")}
    said = [key for key in varying if key.endswith(".name") or not any(key.startswith(group) for group in chosen)]
    groups: dict[tuple[str, ...], list[Run]] = defaultdict(list)
    for run, settings in zip(runs, flat, strict=True):
        groups[tuple(repr(settings.get(key)) for key in varying)].append(run)
    named = {values: _name(dict(zip(varying, values, strict=True)), said) for values in groups}
    ordered = sorted(groups.items(), key=lambda item: (-len(item[1]), len(named[item[0]]), item[0]))
    names = [named[values] for values, _ in ordered]
    taken = Counter(names)
    unique = [f"{name} #{names[:i].count(name) + 1}" if taken[name] > 1 else name for i, name in enumerate(names)]
    return [(name.strip(), same) for name, (_, same) in zip(unique, ordered, strict=True)]


def _name(values: dict[str, str], said: list[str]) -> str:
    """What is special about a variant, from at most two of the keys that differ."""
    parts = []
    for key in said:
        value = values[key].strip("'")
        if value not in ("None", "none"):
            words = key.removesuffix(".name").rpartition(".")[2].replace("_", " ")
            parts.append(value.replace("_", " ") if key.endswith(".name") else f"{words} {value}")
    return ", ".join(parts[:2])


def _settings(config: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """What defines a result apart from the seed and the compression, as `group.key` and value."""
    for key, value in config.items():
        if key in AVERAGED:
            continue
        if isinstance(value, dict):
            skip = PLACES_WITHIN.get(key, ())
            yield from ((f"{key}.{name}", inner) for name, inner in value.items() if name not in skip)
        else:
            yield key, value
