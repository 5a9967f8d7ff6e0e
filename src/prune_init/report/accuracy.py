"""Accuracy against compression: ours with intervals over seeds, the published curves dashed beside them."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from prune_init.benchmark.intervals import LEAST as SEEDS
from prune_init.benchmark.intervals import Interval
from prune_init.report import published
from prune_init.report.drawing import Drawing, canvas, compression_axis, legend, mark, ratio, sparsity
from prune_init.report.palette import FAINT, INK
from prune_init.report.series import Panel, Point, Series

WHICH = {
    "last": "after the last epoch",
    "best": "best epoch on the test set, as published",
    "at_best_validation": "at the best validation accuracy",
}
BAND, WIDE = 0.16, 5.0
"""Opacity of a band; wider ones (half, in per cent) are as much lighter, so that none covers the curves of others."""
LEAST = 10.0
"""Per cent that an axis of accuracies spans at least: less would make much of little."""


def accuracy(panel: Panel, which: str = "last", *, effective: bool = False, narrow: bool = False) -> Drawing:
    """One panel, over nominal or effective compression."""
    figure = canvas(width=4.2, height=4.0) if narrow else canvas(height=4.3)
    (axes,) = figure.axes
    kind = "effective" if effective else "nominal"
    drawing = Drawing(
        f"accuracy-{panel.key}-{kind}-{which}", f"Accuracy against compression, {panel.title}", "", figure
    )
    notes = draw(axes, panel, which, effective=effective, tips=drawing.tips)
    drawing.caption = " ".join([f"Test top-1 {WHICH[which]}; mean over seeds.", *notes])
    legend(figure, panel.series, _extras(panel, which, effective))
    return drawing


def grid(name: str, title: str, shown: Sequence[Panel], which: str) -> Drawing:
    """Several panels side by side, with one legend; a row for each data set, if all have equally many networks."""
    shown = sorted(shown, key=lambda panel: (panel.dataset, panel.architecture))
    columns = _columns(shown)
    rows = math.ceil(len(shown) / columns)
    size = (8.6, 4.9) if len(shown) == 1 else ((4.3 if columns < 4 else 3.4) * columns, 3.0 * rows + 0.9)
    figure = canvas(rows, columns, width=size[0], height=size[1])
    drawing = Drawing(name, title, "", figure)
    notes: dict[str, None] = {}
    for place, (axes, panel) in enumerate(zip(figure.axes, shown, strict=False)):
        notes |= dict.fromkeys(draw(axes, panel, which))
        axes.set_title(panel.title)
        if place % columns:
            axes.set_ylabel("")
        if place + columns < len(shown):
            axes.set_xlabel("")
    for axes in figure.axes[len(shown) :]:
        axes.remove()
    drawing.caption = " ".join([f"Test top-1 {WHICH[which]}; mean over seeds.", *notes])
    every = {series.key: series for panel in shown for series in panel.series}
    legend(figure, every.values(), {str(h.get_label()): h for p in shown for h in _extras(p, which, False)}.values())
    return drawing


def _columns(shown: Sequence[Panel]) -> int:
    networks = set(Counter(panel.dataset for panel in shown).values())
    return min(len(shown), max(networks) if len(networks) == 1 and max(networks) <= 4 else 3)


def draw(
    axes: Axes, panel: Panel, which: str, *, effective: bool = False, tips: dict[str, list[str]] | None = None
) -> list[str]:
    """Draw the curves; returns what a caption has to say of them."""
    exponents: list[float] = []
    means: list[float] = []
    few = dropped = count = 0
    beside = any(_published(panel, series, which) for series in panel.series) and not effective
    # At one compression the points of all series would lie on one another; but a published curve needs them in place.
    apart = 0.1 if len(panel.exponents) == 1 and not beside else 0.0
    for place, series in enumerate(panel.series):
        points = [point for point in series.points if point.accuracy(which)]
        shift = apart * (place - (len(panel.series) - 1) / 2)
        there = [(x, point) for point in points if (x := _x(point, effective)) is not None]
        placed = [(x + shift, point) for x, point in there]
        dropped += len(points) - len(placed)
        values = [point.accuracy(which) for _, point in placed]
        few += sum(value is not None and value.half is None for value in values)
        means += [value.mean for value in values if value is not None]
        exponents += [x for x, _ in there]
        count += len(there)
        _curve(axes, series, placed, which)
        if tips is not None:
            tips[series.key] = [_tip(series, point, which) for _, point in placed]
        if not effective:
            dashed = _published_curve(axes, panel, series, which)
            exponents += [x for x, _ in dashed]
            means += [value for _, value in dashed]
    compression_axis(axes, exponents, label="effective compression ratio" if effective else "compression ratio")
    axes.set_ylim(*_limits(means))
    axes.set_ylabel("test top-1, %")
    return [*_notes(panel, few, count, dropped), *(["Dashed: mean of three published runs."] if beside else [])]


def _curve(axes: Axes, series: Series, placed: list[tuple[float, Point]], which: str) -> None:
    found = [(x, point, value) for x, point in placed if (value := point.accuracy(which))]
    if not found:
        return
    x = [x for x, _, _ in found]
    mean = [value.mean for _, _, value in found]
    for stretch in stretches([(x, value) for x, _, value in found]):
        _interval(axes, series, stretch)
    seeds = [(x, one) for x, point, _ in found if len(point.runs) > 1 for one in point.accuracies(which)]
    if seeds:
        dots: dict[str, Any] = {"color": series.look.color, "markersize": 2.6, "markeredgewidth": 0, "alpha": 0.6}
        mark(axes.plot(*zip(*seeds, strict=True), "o", **dots, zorder=2.5)[0], series)
    (line,) = axes.plot(x, mean, **series.style, zorder=3, clip_on=False)
    mark(line, series, points=True)
    gone = [(x, value.mean) for x, point, value in found if point.collapsed]
    if gone:
        (cross,) = axes.plot(*zip(*gone, strict=True), "x", color=INK, markersize=9, zorder=4, clip_on=False)
        mark(cross, series)


def stretches(values: Sequence[tuple[float, Interval]]) -> list[list[tuple[float, float, float]]]:
    """Lower and upper ends of the intervals, by stretches of neighbouring points that have one."""
    found: list[list[tuple[float, float, float]]] = [[]]
    for x, value in values:
        if value.half is not None:
            found[-1].append((x, value.mean - value.half, value.mean + value.half))
        elif found[-1]:
            found.append([])
    return [stretch for stretch in found if stretch]


def _interval(axes: Axes, series: Series, stretch: list[tuple[float, float, float]]) -> None:
    """A band, or a bar at one point."""
    x, low, high = zip(*stretch, strict=True)
    if len(stretch) == 1:
        mark(axes.vlines(x, low, high, color=series.look.color, linewidth=1.4), series)
        return
    half = sum(top - bottom for _, bottom, top in stretch) / 2 / len(stretch)
    alpha = BAND * WIDE / max(half, WIDE)
    mark(axes.fill_between(x, low, high, color=series.look.color, alpha=alpha, linewidth=0), series)


def _limits(means: Sequence[float]) -> tuple[float, float]:
    """Of the axis: around the means, so that a wide interval does not flatten the curves."""
    low, high = min(means, default=0.0), max(means, default=100.0)
    slack = max(0.08 * (high - low), (LEAST - (high - low)) / 2)
    return max(low - slack, 0.0), min(high + slack, 101.0)


def _published_curve(axes: Axes, panel: Panel, series: Series, which: str) -> list[tuple[float, float]]:
    """Beside the first variant of a scorer; returns its points."""
    curve = _published(panel, series, which)
    if curve:
        x, values = zip(*curve, strict=True)
        dashed: dict[str, Any] = {"color": series.look.color, "linestyle": (0, (4, 3)), "linewidth": 1.3, "alpha": 0.9}
        (line,) = axes.plot(x, [value.mean for value in values], **dashed, zorder=2)
        mark(line, series)
        return [(exponent, value.mean) for exponent, value in curve]
    return []


def _published(panel: Panel, series: Series, which: str) -> published.Curve:
    """Of a scorer's first variant."""
    return [] if series.order else published.accuracy(panel.dataset, panel.architecture, series.scorer, which)


def _x(point: Point, effective: bool) -> float | None:
    return point.effective_exponent if effective else point.exponent


def _tip(series: Series, point: Point, which: str) -> str:
    value = point.accuracy(which)
    assert value is not None
    spread = "" if value.half is None else f" ± {value.half:.1f}"
    lines = [series.look.label, f"{value.mean:.1f}{spread} %, {value.n} seed{'s' * (value.n > 1)}"]
    lines.append(f"{ratio(point.exponent)} compression, {sparsity(point.exponent)} removed")
    if point.effective_exponent is not None:
        lines.append(f"{ratio(point.effective_exponent)} counted over weights on a path")
    if point.collapsed:
        lines.append(f"no path left in {point.collapsed} of {len(point.runs)} runs")
    return "\n".join(lines)


def _notes(panel: Panel, few: int, points: int, dropped: int) -> list[str]:
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
    if any(run.record.collapsed for run in panel.runs):
        notes.append("A cross marks collapse: in at least one run no path leads from input to output.")
    if dropped:
        notes.append(f"{dropped} points without any path have no effective compression and are left out.")
    return notes


def _extras(panel: Panel, which: str, effective: bool) -> list[Line2D]:
    entries = []
    if not effective and any(_published(panel, series, which) for series in panel.series):
        entries.append(Line2D([], [], color=FAINT, linestyle=(0, (4, 3)), linewidth=1.3, label="published"))
    if any(run.record.collapsed for run in panel.runs):
        entries.append(Line2D([], [], color=INK, marker="x", linestyle="none", markersize=9, label="collapse"))
    return entries
