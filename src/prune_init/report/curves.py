"""The figure of training curves: test accuracy by epoch, for a few compressions."""

import math
from collections.abc import Iterator
from statistics import mean

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from prune_init.benchmark.finished_run import FinishedRun
from prune_init.report.drawing import Drawing, canvas, legend, mark, ratio
from prune_init.report.series import Panel, Point, Series

FACETS = 3


def curves(panel: Panel, problems: list[str], *, narrow: bool = False) -> Drawing | None:
    """Plot test top-1 after each epoch that all seeds were tested in, their mean; None if nothing was trained."""
    exponents = spread(sorted({p.exponent for s in panel.series for p in s.points if p.accuracy("last")}), FACETS)
    if not exponents:
        return None
    count = len(exponents)
    if narrow:
        figure = canvas(count, 1, width=4.2, height=2.6 * count + 0.8)
    else:
        figure = canvas(1, count, height=3.6, sharey=True)
    told: dict[str, None] = {}
    for axes, exponent in zip(figure.axes, exponents, strict=True):
        for series in panel.series:
            for point in series.points:
                if point.exponent == exponent:
                    told |= dict.fromkeys(_curve(axes, series, point, problems))
        axes.set_title(f"{ratio(exponent)} compression")
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    figure.axes[0].set_ylabel("test top-1, %")
    legend(figure, panel.series)
    some = f"; {count} of {len(panel.exponents)} compressions" if count < len(panel.exponents) else ""
    caption = " ".join([f"Test top-1 after each epoch, mean over seeds, from metrics.csv{some}.", *told])
    return Drawing(f"training-{panel.key}", f"Training, {panel.title}", caption, figure)


def spread(values: list[float], count: int) -> list[float]:
    """At most `count` of the sorted values: both ends and evenly spaced ones between them."""
    if len(values) <= count:
        return values
    return [values[round(i * (len(values) - 1) / (count - 1))] for i in range(count)]


def _curve(axes: Axes, series: Series, point: Point, problems: list[str]) -> Iterator[str]:
    """Draw the mean over the same seeds in all epochs; yield what the caption must say."""
    runs = [found for run in point.runs if (found := _tested(run, problems))]
    if not runs:
        return
    epochs = sorted(set.intersection(*map(set, runs)))
    few = {} if len(epochs) <= 12 else {"marker": ""}
    means = [mean(run[epoch] for run in runs) for epoch in epochs]
    mark(axes.plot(epochs, means, **{**series.style, "markersize": 5, **few})[0], series)
    if len(runs) < len(point.runs):
        at = f"{series.look.label} at {ratio(point.exponent)}"
        yield f"{at}: {len(runs)} of {len(point.runs)} seeds, as the others have no readable metrics.csv."
    if any(len(run) > len(epochs) for run in runs):
        yield "A line has the epochs that all of its seeds were tested in: it ends where the first one stopped."


def _tested(run: FinishedRun, problems: list[str]) -> dict[float, float]:
    """Test top-1 by epoch, in per cent, where it is finite; empty if it cannot be read."""
    try:
        found = {row["epoch"]: 100 * row["test/top1"] for row in run.metrics()}
    except (ValueError, KeyError, TypeError, OSError) as error:
        problems.append(f"{run.folder.name}/metrics.csv: unreadable ({error!r:.80}): its training is not shown")
        return {}
    return {epoch: value for epoch, value in found.items() if math.isfinite(value)}
