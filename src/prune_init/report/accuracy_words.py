"""What is said of the points of accuracy figures: captions, and the text beside a point."""

from typing import NamedTuple

from prune_init.benchmark.intervals import LEAST as SEEDS
from prune_init.benchmark.intervals import Interval, interval
from prune_init.report.drawing import ratio, sparsity
from prune_init.report.series import Panel, Point, Series


class Placed(NamedTuple):
    """A point where it is drawn: `x` and the accuracies are those of the same runs."""

    x: float
    point: Point
    accuracies: list[float]

    @property
    def value(self) -> Interval:
        """Mean and interval."""
        return interval(self.accuracies)

    @property
    def of_fewer(self) -> bool:
        """Whether some of the point's runs are left out."""
        return len(self.accuracies) < len(self.point.runs)


def tip(series: Series, placed: Placed, which: str) -> str:
    """What the page shows beside a point."""
    point, value, count = placed.point, placed.value, len(placed.point.runs)
    spread = "" if value.half is None else f" ± {value.half:.1f}"
    seeds = f"{value.n} of {count} seeds" if placed.of_fewer else f"{count} seed{'s' * (count > 1)}"
    lines = [series.look.label, f"{value.mean:.1f}{spread} %, {seeds}"]
    lines.append(f"{ratio(point.exponent)} compression, {sparsity(point.exponent)} removed")
    if (part := point.part(which, effective=True)) is not None:
        some = f" in {len(part.runs)} of {count} runs" if len(part.runs) < count else ""
        lines.append(f"{ratio(part.exponent)} counted over weights on a path{some}")
    if point.collapsed:
        lines.append(f"no path left in {point.collapsed} of {len(point.runs)} runs")
    return "\n".join(lines)


def notes_of(panel: Panel, few: int, points: int, dropped: int, fewer: int, *, effective: bool) -> list[str]:
    """The sentences of a caption on points: `few` without interval, `dropped` ones, `fewer` that lack runs."""
    notes = []
    if any(len(point.runs) > 1 for series in panel.series for point in series.points):
        notes.append("Small dots: single seeds.")
    if points and few >= points:
        notes.append(f"Fewer than {SEEDS} seeds: no interval is drawn.")
    elif points:
        bands, lighter = ("Bands", ", the wider the lighter") if len(panel.exponents) > 1 else ("Bars", "")
        notes.append(f"{bands}: 95 % t-interval of the mean over seeds{lighter}.")
        if few:
            notes.append(f"None where there are fewer than {SEEDS} seeds ({few} {'point' if few == 1 else 'points'}).")
    if panel.collapsed:
        notes.append("A cross marks collapse: in at least one run no path leads from input to output.")
    if fewer:
        has = "this accuracy and an effective compression" if effective else "this accuracy"
        notes.append(f"{fewer} {'point' if fewer == 1 else 'points'} without those of their seeds that lack {has}.")
    if dropped:
        notes.append(f"{dropped} points without any path have no effective compression and are left out.")
    return notes
