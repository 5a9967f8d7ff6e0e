"""Figure 7: the share of the flow that the largest step of each schedule prunes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from matplotlib.lines import Line2D

from prune_init.architectures.named import named
from prune_init.loop import prune
from prune_init.pruning.masks import Tensors
from prune_init.pruning.scored_net import ScoredNet
from prune_init.pruning.wrapped import Wrapped
from prune_init.report import published
from prune_init.report.drawing import Drawing, canvas, compression_axis, legend
from prune_init.report.palette import BLUE, FAINT, ORANGE, SKY
from prune_init.report.series import Panel
from prune_init.scorers.synflow import SynFlow

LOOKS = ((1, ORANGE, "v"), (10, SKY, "s"), (100, BLUE, "o"))
"""Each number of iterations, with its colour and marker."""


def schedules(shown: Sequence[Panel]) -> Drawing:
    """Draw the largest share of the flow that one iteration prunes: above 1 it can remove a whole layer."""
    figure = canvas(1, 2, width=8.6, height=4.0, sharey=True)
    for axes, schedule in zip(figure.axes, ("linear", "exponential"), strict=True):
        exponents = [0.5, 1.0, 1.5, 2.0, 2.5, 3.0]
        for iterations, color, marker in LOOKS:
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
    entries = [Line2D([], [], color=c, marker=m, label=f"{n} iteration{'s' * (n > 1)}") for n, c, m in LOOKS]
    entries.append(Line2D([], [], color=FAINT, linestyle=(0, (4, 3)), linewidth=1.3, label="published, VGG-19"))
    legend(figure, [], entries)
    caption = (
        "SynFlow: the largest sum of scores that one iteration prunes, over the flow through the net. Below the line "
        "no iteration can cut the net (theorem 3). Ours: the conv net at initialisation, computed now."
    )
    return Drawing("", "Figure 7: schedules", caption, figure)


def _largest_cut(schedule: str, exponent: float, iterations: int) -> float:
    """The largest sum of scores that one iteration prunes, divided by the flow through the output layer."""
    torch.manual_seed(0)
    model = named("conv", 10, (1, 28, 28))
    watched = Watched(SynFlow(iterations=iterations))
    kept = prune(model, watched, 1 - 10**-exponent, schedule=schedule, input_shape=(1, 28, 28)).masks
    after = [masks for _, masks in watched.seen[1:]] + [kept]
    cuts = []
    for (scores, before), left in zip(watched.seen, after, strict=True):
        pruned = sum(float(score[before[name] & ~left[name]].sum()) for name, score in scores.items())
        cuts.append(pruned / float(list(scores.values())[-1].sum()))
    return max(cuts)


@dataclass(frozen=True)
class Watched(Wrapped):
    """A scorer that keeps its scores, and the masks under which they were computed, in `seen`."""

    shrinks: ClassVar = False  # so that scores have the shapes of the model's weights

    seen: list[tuple[Tensors, Tensors]] = field(default_factory=list)

    def __call__(self, net: ScoredNet) -> Tensors:
        """The scorer's own scores."""
        scores = self.scorer(net)
        # Copies, since the pruning loop reuses the memory.
        self.seen.append(({n: s.clone() for n, s in scores.items()}, {n: m.clone() for n, m in net.masks.items()}))
        return scores
