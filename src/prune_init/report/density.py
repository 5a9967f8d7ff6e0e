"""The figure of the weights left: density of each layer at each compression, one map for each series."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator

from prune_init.report.drawing import Drawing, canvas, mark, ratio, short
from prune_init.report.palette import FAINT, INK, VERMILLION
from prune_init.report.series import Panel, Series

SCALE = "viridis"  # perceptually uniform, and safe for colour-blind readers
LOWEST = 1e-4
"""Densities below it are drawn in its colour."""
COLUMNS = 3
MOST = 15  # the most maps in one figure
WHITE = "#fffffe"
"""White of marks on a map: not #ffffff, which a dark page replaces, since a map keeps its colours there."""

Grid = np.ndarray[Any, Any]


def density(panel: Panel, *, narrow: bool = False) -> Drawing:
    """Map the density of each layer (rows, from input to output) at each compression (columns), the mean over seeds."""
    shown = panel.series[:MOST]
    names = _layers(panel)
    columns = 1 if narrow else min(COLUMNS, len(shown))
    rows = math.ceil(len(shown) / columns)
    height = rows * (1.0 + 0.16 * min(max(len(names), 8), 40)) + 0.9
    figure = canvas(
        rows, columns, width=4.2 if narrow else max(5.5, 8.6 * columns / COLUMNS), height=height, sharey=True
    )
    grids = [_grid(series, panel.exponents, names) for series in shown]
    names = [name.removesuffix(".weight") for name in names]
    maps = zip(figure.axes, shown, grids, strict=False)
    images = [_map(axes, series, grid, panel.exponents, names) for axes, series, grid in maps]
    for axes in figure.axes[len(shown) :]:
        axes.remove()
    figure.supxlabel("compression ratio", fontsize=9, color=FAINT)
    bar = figure.colorbar(images[0], ax=figure.axes, shrink=0.6, aspect=30, pad=0.02, extend="min")
    ticks = range(round(math.log10(LOWEST)), 1)
    bar.set_ticks(list(ticks), labels=[f"{10.0 ** (t + 2):g}%" for t in ticks])
    bar.outline.set_visible(False)
    bar.set_label("weights left")
    caption = "Share of weights left in each layer (rows) at each compression (columns), mean over seeds. "
    frame = "; a red frame, collapse: in at least one run no path is left" if panel.collapsed else ""
    caption += f"A cross marks an empty layer{frame}."
    if len(panel.series) > MOST:
        caption += f" The first {MOST} of {len(panel.series)} series."
    tips = {s.key: _tips(s, grid, panel.exponents, names) for s, grid in zip(shown, grids, strict=True)}
    return Drawing(f"density-{panel.key}", f"Weights left in each layer, {panel.title}", caption, figure, tips)


def _layers(panel: Panel) -> list[str]:
    """The layers that any run has pruned, in their order in the network."""
    found: list[str] = []
    for names in dict.fromkeys(tuple(layer.name for layer in run.record.layers) for run in panel.runs):
        place = 0
        for name in names:
            if name not in found:
                found.insert(place, name)
            place = found.index(name) + 1
    return found


def _tips(series: Series, grid: Grid, exponents: Sequence[float], names: Sequence[str]) -> list[list[str]]:
    """The text for each cell, by layer and compression."""
    return [
        [
            f"{series.look.label}, {name}\n{ratio(x)} compression: "
            + ("not run, or no such layer to prune" if np.isnan(value) else f"{100 * value:.3g} % left")
            for x, value in zip(exponents, row, strict=True)
        ]
        for name, row in zip(names, grid, strict=True)
    ]


def _grid(series: Series, exponents: Sequence[float], names: Sequence[str]) -> Grid:
    """Mean density by layer and compression; nan without runs, or in nets that have no such layer to prune."""
    grid = np.full((len(names), len(exponents)), np.nan)
    for point in series.points:
        found = [{layer.name: layer.density for layer in run.record.layers} for run in point.runs]
        rows = [[run.get(name, np.nan) for name in names] for run in found]
        grid[:, exponents.index(point.exponent)] = np.mean(rows, axis=0)
    return grid


def _map(axes: Axes, series: Series, grid: Grid, exponents: Sequence[float], names: Sequence[str]) -> Any:
    with np.errstate(divide="ignore"):
        shades = np.log10(np.maximum(grid, LOWEST))
    image = axes.imshow(shades, cmap=SCALE, vmin=math.log10(LOWEST), vmax=0, aspect="auto", interpolation="none")
    mark(image, series)
    rows, columns = np.nonzero(grid == 0)
    size = min(4, 80 / len(exponents))
    axes.plot(columns, rows, "x", color=WHITE, markersize=size, markeredgewidth=size / 4)
    for first, last in _stretches([exponents.index(point.exponent) for point in series.points if point.collapsed]):
        axes.axvspan(first - 0.46, last + 0.46, fill=False, edgecolor=VERMILLION, linewidth=1.8)
    axes.set_title(series.look.label, color=INK)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    ticks = _ticks(exponents)
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.set_xticklabels([short(exponents[at]) for at in ticks], fontsize=8.5)
    step = max(1, math.ceil(len(names) / 40))
    axes.set_yticks(list(range(0, len(names), step)), labels=list(names[::step]), fontsize=8, color=FAINT)
    return image


def _stretches(places: list[int]) -> list[tuple[int, int]]:
    """First and last of each group of consecutive numbers in the sorted `places`."""
    firsts = [at for at in places if at - 1 not in places]
    lasts = [at for at in places if at + 1 not in places]
    return list(zip(firsts, lasts, strict=True))


def _ticks(exponents: Sequence[float]) -> list[int]:
    """At most six columns to label: powers of ten, if there are at least three."""
    round_ones = [at for at, x in enumerate(exponents) if x == round(x)]
    places = round_ones if len(round_ones) > 2 else list(range(len(exponents)))
    return places[:: math.ceil(len(places) / 6)]
