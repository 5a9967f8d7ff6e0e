"""Figure 5: iterative magnitude pruning, and how training changes the magnitudes of layers."""

from collections.abc import Sequence

from prune_init.report import published
from prune_init.report.conservation import training
from prune_init.report.drawing import Drawing, canvas, compression_axis, legend
from prune_init.report.palette import FAINT
from prune_init.report.series import Panel

MOST = 6
"""The most of our curves that the figure shows."""


def lottery_ticket(shown: Sequence[Panel]) -> Drawing:
    """Draw the accuracy of iterative magnitude pruning by levels, and how training changes the magnitudes of layers."""
    figure = canvas(1, 2, width=8.6, height=4.3)
    left, right = figure.axes
    exponents: list[float] = []
    for levels in range(1, 6):
        curve = published.lottery_ticket("cifar10", "vgg11", levels)
        x, values = zip(*curve, strict=True)
        exponents += x
        left.plot(x, [v.mean for v in values], color=FAINT, alpha=0.25 + 0.15 * levels, linewidth=1.2, linestyle="--")
    found = [(p, s) for p in shown for s in p.series if s.levels and p.trained("best")]
    for panel, series in found[:MOST]:
        points = [(p.exponent, value.mean) for p in series.points if (value := p.accuracy("best"))]
        left.plot(*zip(*points, strict=True), **series.style, label=f"{series.levels} levels, {panel.title}")
        exponents += [x for x, _ in points]
    left.plot([], [], color=FAINT, linestyle="--", linewidth=1.2, label="published, 1 (light) to 5 levels")
    left.set_title("a   Accuracy by levels")
    left.set_ylabel("test top-1, %")
    legend(figure, [], [line for line in left.lines if not str(line.get_label()).startswith("_")])
    compression_axis(left, exponents)
    right.set_title("b   Magnitudes while training")
    correlations = ", ".join(f"{value:.2f}" for value in training(right))
    runs = "Ours: lifecycle=lottery_ticket." if found else "No run with lifecycle=lottery_ticket in this folder."
    if len(found) > MOST:
        runs = f"Ours: lifecycle=lottery_ticket, the first {MOST} of {len(found)} series."
    caption = (
        f"a: iterative magnitude pruning; published: VGG-11 on CIFAR-10, without rewinding. {runs} b: mean squared "
        "weight of each layer of the conv net against inverse size, plain SGD on the embedded images, computed now; "
        f"correlation of the logarithms: {correlations}."
    )
    return Drawing("", "Figure 5: iterative magnitude pruning avoids collapse", caption, figure)
