"""Figures of accuracy against compression: our runs with intervals over seeds, published curves dashed."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from prune_init.benchmark.intervals import Interval
from prune_init.report import published
from prune_init.report.accuracy_words import Placed, notes_of, tip
from prune_init.report.drawing import Drawing, canvas, compression_axis, legend, mark
from prune_init.report.palette import FAINT, INK
from prune_init.report.series import Panel, Series

WHICH = {
    "last": "after the last epoch",
    "best": "best epoch on the test set, as published",
    "at_best_validation": "at the best validation accuracy",
}
BAND, WIDE = 0.16, 5.0
"""Opacity of a band, and the half-width (in per cent) from which on it is lighter, so as not to hide other curves."""
LEAST = 10.0
"""The least span of an accuracy axis in per cent: a smaller one would exaggerate small differences."""


def accuracy(panel: Panel, which: str = "last", *, effective: bool = False, narrow: bool = False) -> Drawing:
    """Draw one panel, over nominal or effective compression."""
    figure = canvas(width=4.2, height=4.0) if narrow else canvas(height=4.3)
    (axes,) = figure.axes
    switches = {"x": "effective" if effective else "nominal", "y": which}
    title = f"Accuracy against compression, {panel.title}"
    drawing = Drawing(f"accuracy-{panel.key}-{switches['x']}-{which}", title, "", figure, switches=switches)
    drawing.caption = " ".join(draw(axes, panel, which, effective=effective, tips=drawing.tips))
    legend(figure, panel.series, _extras(panel, which, effective=effective))
    return drawing


def grid(name: str, title: str, shown: Sequence[Panel], which: str) -> Drawing:
    """Draw several panels side by side with one legend; a row for each data set, if all have equally many networks."""
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
    drawing.caption = " ".join(notes)
    every = {series.key: series for panel in shown for series in panel.series}
    legend(figure, every.values(), {str(h.get_label()): h for p in shown for h in _extras(p, which)}.values())
    return drawing


def _columns(shown: Sequence[Panel]) -> int:
    networks = set(Counter(panel.dataset for panel in shown).values())
    return min(len(shown), max(networks) if len(networks) == 1 and max(networks) <= 4 else 3)


def draw(
    axes: Axes, panel: Panel, which: str, *, effective: bool = False, tips: dict[str, list[str]] | None = None
) -> list[str]:
    """Draw the curves of a panel; return the sentences of a caption for them."""
    theirs = {} if effective else _published(panel, which)
    # With one compression all series would overlap, so they are shifted; beside a published curve they must not be.
    apart = 0.1 if len(panel.exponents) == 1 and not theirs else 0.0
    exponents: list[float] = []
    means: list[float] = []
    few = fewer = dropped = count = 0
    for place, series in enumerate(panel.series):
        shift = apart * (place - (len(panel.series) - 1) / 2)
        parts = ((point, point.part(which, effective=effective)) for point in series.points)
        placed = [Placed(part.exponent, point, part.accuracies(which)) for point, part in parts if part]
        _curve(axes, series, [one._replace(x=one.x + shift) for one in placed])
        dashed = _dashed(axes, series, theirs.get(series.key, []))
        if tips is not None:
            tips[series.key] = [tip(series, one, which) for one in placed]
        exponents += [one.x for one in placed] + [x for x, _ in dashed]
        means += [one.value.mean for one in placed] + [value.mean for _, value in dashed]
        few += sum(one.value.half is None for one in placed)
        fewer += sum(one.of_fewer for one in placed)
        dropped += sum(bool(point.accuracies(which)) for point in series.points) - len(placed)
        count += len(placed)
    compression_axis(axes, exponents, label="effective compression ratio" if effective else "compression ratio")
    axes.set_ylim(*_limits(means))
    axes.set_ylabel("test top-1, %")
    notes = [
        f"Test top-1 {WHICH[which]}; mean over seeds.",
        *notes_of(panel, few, count, dropped, fewer, effective=effective),
    ]
    return [*notes, "Dashed: mean of three published runs."] if theirs else notes


def _curve(axes: Axes, series: Series, placed: list[Placed]) -> None:
    if not placed:
        return
    for stretch in stretches([(one.x, one.value) for one in placed]):
        _interval(axes, series, stretch)
    seeds = [(one.x, y) for one in placed if len(one.point.runs) > 1 for y in one.accuracies]
    if seeds:
        dots: dict[str, Any] = {"color": series.look.color, "markersize": 2.6, "markeredgewidth": 0, "alpha": 0.6}
        mark(axes.plot(*zip(*seeds, strict=True), "o", **dots, zorder=2.5)[0], series)
    x, means = [one.x for one in placed], [one.value.mean for one in placed]
    mark(axes.plot(x, means, **series.style, zorder=3, clip_on=False)[0], series, points=True)
    gone = [(one.x, one.value.mean) for one in placed if one.point.collapsed]
    if gone:
        mark(axes.plot(*zip(*gone, strict=True), "x", color=INK, markersize=9, zorder=4, clip_on=False)[0], series)


def stretches(values: Iterable[tuple[float, Interval]]) -> list[list[tuple[float, float, float]]]:
    """The ends (x, low, high) of intervals, grouped by runs of neighbouring points that have one."""
    return [
        [(x, value.mean - (value.half or 0), value.mean + (value.half or 0)) for x, value in stretch]
        for known, stretch in groupby(values, key=lambda one: one[1].half is not None)
        if known
    ]


def _interval(axes: Axes, series: Series, stretch: list[tuple[float, float, float]]) -> None:
    """Draw a band, or a bar if there is a single point."""
    x, low, high = zip(*stretch, strict=True)
    if len(stretch) == 1:
        mark(axes.vlines(x, low, high, color=series.look.color, linewidth=1.4), series)
        return
    half = sum(top - bottom for _, bottom, top in stretch) / 2 / len(stretch)
    alpha = BAND * WIDE / max(half, WIDE)
    mark(axes.fill_between(x, low, high, color=series.look.color, alpha=alpha, linewidth=0), series)


def _limits(means: Sequence[float]) -> tuple[float, float]:
    """Limits of the accuracy axis, from the means only, so that a wide interval does not flatten the curves."""
    low, high = min(means, default=0.0), max(means, default=100.0)
    slack = max(0.08 * (high - low), (LEAST - (high - low)) / 2)
    return max(low - slack, 0.0), min(high + slack, 101.0)


def _dashed(axes: Axes, series: Series, curve: published.Curve) -> published.Curve:
    """Draw a published curve and return it."""
    if curve:
        look: dict[str, Any] = {"color": series.look.color, "linestyle": (0, (4, 3)), "linewidth": 1.3, "alpha": 0.9}
        mark(axes.plot([x for x, _ in curve], [value.mean for _, value in curve], **look, zorder=2)[0], series)
    return curve


def _published(panel: Panel, which: str) -> dict[str, published.Curve]:
    """The published curves by series key; each belongs to the first variant of its scorer."""
    first = [series for series in panel.series if series.order == 0]
    found = {s.key: published.accuracy(panel.dataset, panel.architecture, s.scorer, which) for s in first}
    return {key: curve for key, curve in found.items() if curve}


def _extras(panel: Panel, which: str, *, effective: bool = False) -> list[Line2D]:
    entries = []
    if not effective and _published(panel, which):
        entries.append(Line2D([], [], color=FAINT, linestyle=(0, (4, 3)), linewidth=1.3, label="published"))
    if panel.collapsed:
        entries.append(Line2D([], [], color=INK, marker="x", linestyle="none", markersize=9, label="collapse"))
    return entries
