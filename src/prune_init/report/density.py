"""Where the weights are left: density of each layer over compression, one map for each scorer."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator

from prune_init.report.drawing import Drawing, canvas, short
from prune_init.report.palette import FAINT, INK
from prune_init.report.series import Panel, Point, Series

SCALE = "viridis"  # even in lightness, and safe for colour-blind eyes
LOWEST = 1e-4
"""Smaller densities have the colour of this one."""
COLUMNS = 3


def density(panel: Panel, *, at_most: int = 12) -> Drawing:
    """Mean density over seeds of each layer (rows, from input to output) at each compression (columns)."""
    shown = panel.series[:at_most]
    names = [layer["name"].removesuffix(".weight") for layer in panel.runs[0].row["layers"]]
    columns = min(COLUMNS, len(shown))
    rows = math.ceil(len(shown) / columns)
    height = rows * (1.0 + 0.19 * min(max(len(names), 7), 40)) + 0.9
    figure = canvas(rows, columns, width=max(5.5, 8.6 * columns / COLUMNS), height=height, sharey=True)
    images = [_map(axes, series, panel.exponents, names) for axes, series in zip(figure.axes, shown, strict=False)]
    for axes in figure.axes[len(shown) :]:
        axes.remove()
    bar = figure.colorbar(images[0], ax=figure.axes, shrink=0.6, aspect=30, pad=0.02, extend="min")
    ticks = range(round(math.log10(LOWEST)), 1)
    bar.set_ticks(list(ticks), labels=[f"{10.0 ** (t + 2):g}%" for t in ticks])
    bar.outline.set_visible(False)
    bar.set_label("weights left")
    caption = "Share of weights left in each layer (rows) at each compression (columns), mean over seeds. "
    caption += "A cross marks an empty layer"
    caption += (
        "; a red frame, collapse: in at least one run no path is left."
        if any(run.collapsed for run in panel.runs)
        else "."
    )
    if len(panel.series) > at_most:
        caption += f" The first {at_most} of {len(panel.series)} series."
    return Drawing(f"density-{panel.key}", f"Weights left in each layer, {panel.title}", caption, figure)


def _map(axes: Axes, series: Series, exponents: Sequence[float], names: Sequence[str]) -> Any:
    grid = np.full((len(names), len(exponents)), np.nan)
    for point in series.points:
        column = _densities(point, len(names))
        if column is not None:
            grid[:, exponents.index(point.exponent)] = column
    with np.errstate(divide="ignore"):
        shades = np.log10(np.maximum(grid, LOWEST))
    image = axes.imshow(shades, cmap=SCALE, vmin=math.log10(LOWEST), vmax=0, aspect="auto", interpolation="none")
    rows, columns = np.nonzero(grid == 0)
    axes.plot(columns, rows, "x", color="#ffffff", markersize=4, markeredgewidth=1)
    for at in (exponents.index(point.exponent) for point in series.points if point.collapsed):
        axes.axvspan(at - 0.46, at + 0.46, fill=False, edgecolor="#D55E00", linewidth=1.6)
    axes.set_title(series.look.label, color=INK)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    step = max(1, math.ceil(len(exponents) / 6))
    axes.xaxis.set_major_locator(FixedLocator(list(range(0, len(exponents), step))))
    axes.set_xticklabels([short(x) for x in exponents[::step]], fontsize=8.5)
    step = max(1, math.ceil(len(names) / 40))
    axes.set_yticks(list(range(0, len(names), step)), labels=list(names[::step]), fontsize=8, color=FAINT)
    return image


def _densities(point: Point, layers: int) -> np.ndarray[Any, Any] | None:
    found = [[layer["density"] for layer in run.row["layers"]] for run in point.runs]
    whole = [row for row in found if len(row) == layers]
    return np.mean(whole, axis=0) if whole else None
