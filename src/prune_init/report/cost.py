"""The figure and the table of scoring costs: passes, as the rebuttal counts them, and measured seconds."""

import math
from dataclasses import dataclass
from statistics import median

from matplotlib.ticker import FuncFormatter

from prune_init.report.drawing import Drawing, canvas, mark, short
from prune_init.report.palette import FAINT
from prune_init.report.series import Panel, Series


@dataclass(frozen=True)
class CostRow:
    """The costs of one series: medians over its runs."""

    series: Series
    iterations: float
    examples: float
    passes: float
    seconds: float
    flops: float
    share: float | None
    """Share of scoring in the run's total seconds; None if no run was trained."""


def costs(panel: Panel) -> list[CostRow]:
    """The rows of the table of passes and seconds."""
    return [_cost(series) for series in panel.series]


def _cost(series: Series) -> CostRow:
    def middle(key: str) -> float:
        return median(getattr(run.record.cost, key) for run in series)

    shares = [seconds.scoring / seconds.total for run in series if (seconds := run.record.seconds).training]
    return CostRow(
        series=series,
        iterations=middle("iterations"),
        examples=middle("examples_per_iteration"),
        passes=middle("passes"),
        seconds=middle("seconds"),
        flops=middle("flops"),
        share=median(shares) if shares else None,
    )


def cost(panel: Panel, *, narrow: bool = False) -> Drawing:
    """Plot passes and seconds as points on log axes; bars would need a zero."""
    rows = costs(panel)
    height = 1.3 + 0.36 * len(rows)
    size = (2, 1, 4.2, 2 * height) if narrow else (1, 2, 8.6, height)
    figure = canvas(*size[:2], width=size[2], height=size[3], sharey=True)
    for axes, key, title in zip(figure.axes, ("passes", "seconds"), ("passes", "seconds of scoring"), strict=True):
        for place, row in enumerate(rows):
            value = getattr(row, key)
            if value > 0:
                line = axes.plot([value], [place], **{**row.series.style, "linestyle": "none"}, markersize=9)[0]
                mark(line, row.series)
                label = f"{value:,.0f}" if value >= 100 or key == "passes" else f"{value:.2g}"
                text = axes.annotate(label, (value, place), xytext=(9, 0), textcoords="offset points", va="center")
            else:
                text = axes.annotate("none", (0.01, place), xycoords=("axes fraction", "data"), va="center")
            text.set(color=FAINT, fontsize=9, bbox={"facecolor": "#ffffff", "edgecolor": "none", "pad": 1.5})
            mark(text, row.series)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,g}" if x < 1e5 else short(math.log10(x))))
        axes.minorticks_off()
        axes.margins(x=0.25)
        axes.set_title(title)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_yticks(range(len(rows)), labels=[row.series.look.label for row in rows])
    caption = "Median over runs. Passes are iterations x examples per iteration, forward and backward together."
    return Drawing(f"cost-{panel.key}", f"What scoring costs, {panel.title}", caption, figure)
