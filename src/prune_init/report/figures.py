"""The figures of Tanaka et al. 2020 and of their rebuttal, by name."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from matplotlib.lines import Line2D

from prune_init.analysis.conservation import architecture
from prune_init.errors import InputError, one_of
from prune_init.pruning.loop import prune
from prune_init.pruning.masks import Tensors
from prune_init.pruning.scored_net import ScoredNet
from prune_init.report import published
from prune_init.report.accuracy import grid
from prune_init.report.conservation import SCORERS, layers, measured, neurons, training
from prune_init.report.density import density
from prune_init.report.drawing import Drawing, canvas, compression_axis, legend
from prune_init.report.palette import BLUE, FAINT, ORANGE, SKY
from prune_init.report.series import Panel, Series
from prune_init.scorers.synflow import SynFlow

BASELINES = ("random", "magnitude", "snip", "grasp", "grasp_official", "grasp_submission", "synflow")
GRASP = ("grasp", "grasp_official", "grasp_submission", "synflow")
SNIP = ("snip", "iter_snip", "force", "synflow")


def check(name: str) -> None:
    """Refuse what is no figure.

    Raises:
        InputError: there is no figure of this name.
    """
    if name not in FIGURES:
        raise InputError("figure", name, one_of(name, FIGURES))


def draw(name: str, shown: Sequence[Panel]) -> Drawing:
    """The figure `name`, from the panels of a folder of runs or computed now.

    Raises:
        InputError: there is no run that it needs.
    """
    drawing = FIGURES[name](shown)
    drawing.name = f"figure-{name}"
    return drawing


def _figure_1(shown: Sequence[Panel]) -> Drawing:
    panel = _nearest(_of("1", shown, BASELINES))
    return grid("", f"Figure 1: accuracy against compression, {panel.title}", [panel], "best")


def _figure_2(shown: Sequence[Panel]) -> Drawing:
    panel = _nearest(_of("2", shown, BASELINES, trained=False))
    drawing = density(panel)
    drawing.title = f"Figure 2: where layers collapse, {panel.title}"
    return drawing


def _figure_3(shown: Sequence[Panel]) -> Drawing:
    drawing = neurons("conv", measured("conv", 10, (1, 28, 28), SCORERS))
    drawing.title = "Figure 3: conservation of scores, neuron by neuron"
    return drawing


def _figure_4(shown: Sequence[Panel]) -> Drawing:
    drawing = layers("conv", measured("conv", 10, (1, 28, 28), SCORERS), beside=True)
    drawing.title = "Figure 4: large layers have small scores"
    return drawing


def _figure_5(shown: Sequence[Panel]) -> Drawing:
    """Iterative magnitude pruning: accuracy by levels, and what training does to the magnitudes of layers."""
    figure = canvas(1, 2, width=8.6, height=4.3)
    left, right = figure.axes
    exponents: list[float] = []
    for levels in range(1, 6):
        curve = published.lottery_ticket("cifar10", "vgg11", levels)
        x, values = zip(*curve, strict=True)
        exponents += x
        left.plot(x, [v.mean for v in values], color=FAINT, alpha=0.25 + 0.15 * levels, linewidth=1.2, linestyle="--")
    found = [(p, s) for p in shown for s in p.series if _levels(s) and p.trained("best")]
    for panel, series in found[:6]:
        points = [(p.exponent, value.mean) for p in series.points if (value := p.accuracy("best"))]
        left.plot(*zip(*points, strict=True), **series.style, label=f"{_levels(series)} levels, {panel.title}")
        exponents += [x for x, _ in points]
    left.plot([], [], color=FAINT, linestyle="--", linewidth=1.2, label="published, 1 (light) to 5 levels")
    left.set_title("a   Accuracy by levels")
    left.set_ylabel("test top-1, %")
    legend(figure, [], [line for line in left.lines if not str(line.get_label()).startswith("_")])
    compression_axis(left, exponents)
    right.set_title("b   Magnitudes while training")
    correlations = ", ".join(f"{value:.2f}" for value in training(right))
    runs = "Ours: lifecycle=lottery_ticket." if found else "No run with lifecycle=lottery_ticket in this folder."
    caption = (
        f"a: iterative magnitude pruning; published: VGG-11 on CIFAR-10, without rewinding. {runs} b: mean squared "
        "weight of each layer of the conv net against inverse size, plain SGD on the embedded images, computed now; "
        f"correlation of the logarithms: {correlations}."
    )
    return Drawing("", "Figure 5: iterative magnitude pruning avoids collapse", caption, figure)


def _figure_6(shown: Sequence[Panel]) -> Drawing:
    return grid("", "Figure 6: accuracy against compression", _of("6", shown, BASELINES), "best")


def _figure_7(shown: Sequence[Panel]) -> Drawing:
    """The largest share of the flow that one iteration prunes: above 1 a whole layer can go at once."""
    figure = canvas(1, 2, width=8.6, height=4.0, sharey=True)
    counts = (1, 10, 100)
    for axes, schedule in zip(figure.axes, ("linear", "exponential"), strict=True):
        exponents = [0.5, 1.0, 1.5, 2.0, 2.5, 3.0]
        for iterations, color, marker in zip(counts, (ORANGE, SKY, BLUE), "vso", strict=True):
            ours = [_largest_cut(schedule, exponent, iterations) for exponent in exponents]
            axes.plot(exponents, ours, color=color, marker=marker)
            theirs = [
                (float(row["exponent"]), float(row["largest_cut"]))
                for row in published.table("schedules")
                if (row["schedule"], row["iterations"]) == (schedule, str(iterations)) and float(row["exponent"]) > 0
            ]
            axes.plot(*zip(*theirs, strict=True), color=color, linestyle=(0, (4, 3)), linewidth=1.3)
        axes.set(yscale="log", title=f"{schedule} schedule")
        axes.axhline(1, color=FAINT, linewidth=1)
        compression_axis(axes, exponents)
    figure.axes[0].set_ylabel("largest cut / flow")
    entries = [
        Line2D([], [], color=c, marker=m, label=f"{n} iteration{'s' * (n > 1)}")
        for n, c, m in zip(counts, (ORANGE, SKY, BLUE), "vso", strict=True)
    ]
    entries.append(Line2D([], [], color=FAINT, linestyle=(0, (4, 3)), linewidth=1.3, label="published, VGG-19"))
    legend(figure, [], entries)
    caption = (
        "SynFlow: the largest sum of scores that one iteration prunes, over the flow through the net. Below the line "
        "no iteration can cut the net (theorem 3). Ours: the conv net at initialisation, computed now."
    )
    return Drawing("", "Figure 7: schedules", caption, figure)


def _largest_cut(schedule: str, exponent: float, iterations: int) -> float:
    """Of all iterations, the largest sum of scores that one prunes, over the flow through the output layer."""
    torch.manual_seed(0)
    model = architecture("conv", 10, (1, 28, 28))
    watched = Watched(SynFlow(iterations=iterations, shrinks=False))
    kept = prune(model, watched, 1 - 10**-exponent, schedule=schedule, input_shape=(1, 28, 28)).masks
    after = [masks for _, masks in watched.seen[1:]] + [kept]
    cuts = []
    for (scores, before), left in zip(watched.seen, after, strict=True):
        pruned = sum(float(score[before[name] & ~left[name]].sum()) for name, score in scores.items())
        cuts.append(pruned / float(list(scores.values())[-1].sum()))
    return max(cuts)


@dataclass(frozen=True)
class Watched:
    """A scorer whose scores, and the masks they were computed under, are kept."""

    scorer: SynFlow
    seen: list[tuple[Tensors, Tensors]] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.scorer, name)

    def __call__(self, net: ScoredNet) -> Tensors:
        """The scorer's own scores."""
        scores = self.scorer(net)
        # Copies: the loop goes on in the same memory.
        self.seen.append(({n: s.clone() for n, s in scores.items()}, {n: m.clone() for n, m in net.masks.items()}))
        return scores


def _rebuttal(name: str, title: str, scorers: tuple[str, ...]) -> Callable[[Sequence[Panel]], Drawing]:
    return lambda shown: grid("", title, _of(name, shown, scorers), "best")


FIGURES: dict[str, Callable[[Sequence[Panel]], Drawing]] = {
    "1": _figure_1,
    "2": _figure_2,
    "3": _figure_3,
    "4": _figure_4,
    "5": _figure_5,
    "6": _figure_6,
    "7": _figure_7,
    "a": _rebuttal("a", "Rebuttal, figure A: GraSP, its first and its corrected version, and SynFlow", GRASP),
    "b": _rebuttal("b", "Rebuttal, figure B: SNIP, its modes and iterations, and SynFlow", SNIP),
}
COMPUTED = ("3", "4", "5", "7")
"""Figures that need no runs."""

PRESETS = {"1": "figure1", "2": "critical", "6": "figure6", "a": "rebuttal_a", "b": "rebuttal_b"}


def _of(name: str, shown: Sequence[Panel], scorers: tuple[str, ...], *, trained: bool = True) -> list[Panel]:
    """The panels with the scorers of a figure alone."""
    kept = [
        Panel(
            panel.dataset, panel.architecture, tuple(s for s in panel.series if s.scorer in scorers and not _levels(s))
        )
        for panel in shown
    ]
    kept = [panel for panel in kept if panel.series and (panel.trained("best") or not trained)]
    if not kept:
        what = "trained runs" if trained else "runs"
        why = f"needs {what} of {', '.join(scorers)}: python -m prune_init -m experiment={PRESETS[name]}"
        raise InputError("figure", name, why)
    return kept


def _nearest(shown: Sequence[Panel]) -> Panel:
    """The published network and data set, if they were run, else those with most runs."""
    return next((p for p in shown if (p.dataset, p.architecture) == ("cifar100", "vgg16")), shown[0])


def _levels(series: Series) -> int | None:
    """Of iterative magnitude pruning; None for all else."""
    lifecycle = series.points[0].runs[0].row["config"].get("lifecycle") or {}
    levels = lifecycle.get("levels")
    return levels if isinstance(levels, int) else None
