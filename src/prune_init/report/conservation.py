"""The paper's theory, computed at once: neurons (figure 3), layers (figure 4), training (figure 5b)."""

from collections.abc import Mapping
from itertools import islice

import torch
from matplotlib.axes import Axes
from torch import Tensor

from prune_init.analysis.conservation import endless, train
from prune_init.architectures.named import named
from prune_init.data.fashion_small import fashion_small
from prune_init.pruning.sample import Batch
from prune_init.pruning.weights import prunable
from prune_init.report import published
from prune_init.report.drawing import Drawing, canvas, mark
from prune_init.report.palette import BLUE, FAINT, GREY, ORANGE, SKY, VERMILLION, look
from prune_init.report.scores import ScorerFlow, flows

SCORERS = ("random", "magnitude", "snip", "grasp", "synflow")


def measured(
    name: str, num_classes: int, input_shape: tuple[int, ...], scorers: tuple[str, ...]
) -> dict[str, ScorerFlow]:
    """Scores of the net `name` at initialisation, seed 0, on two images per class (at most 20) of noise.

    The embedded images are used where they fit the net.
    """
    torch.manual_seed(0)
    model = named(name, num_classes, input_shape)
    return flows(model, scorers, sample(num_classes, input_shape))


def sample(num_classes: int, input_shape: tuple[int, ...]) -> list[Batch]:
    """At most 20 labelled images."""
    if tuple(input_shape) == (1, 28, 28) and num_classes == 10:
        dataset = fashion_small(num_classes=10, input_shape=(1, 28, 28))
        return dataset.sample(2, seed=0, augment=False)
    labels = torch.arange(min(20, 2 * num_classes)) % num_classes
    return [(torch.randn(len(labels), *input_shape), labels)]


def neurons(name: str, found: Mapping[str, ScorerFlow], *, narrow: bool = False) -> Drawing:
    """Score into each neuron against score out of it, on log axes."""
    count = len(found)
    if narrow:
        figure = canvas((count + 1) // 2, min(count, 2), width=4.2, height=2.4 * ((count + 1) // 2))
    else:
        figure = canvas(1, count, width=max(5.0, 2.35 * count), height=2.6)
    for axes in figure.axes[count:]:
        axes.remove()
    for axes, (scorer, flow) in zip(figure.axes, found.items(), strict=True):
        both = torch.stack([flow.incoming, flow.outgoing]).abs()
        both = both[:, (both > 0).all(0)]
        _diagonal(axes, both)
        dots = axes.scatter(both[0], both[1], s=7, color=look(scorer).color, alpha=0.35, linewidths=0, rasterized=True)
        mark(dots, scorer)
        axes.set(xscale="log", yscale="log", xlabel="into the neuron")
        axes.set_title(look(scorer).label)
        axes.set_box_aspect(1)
        axes.locator_params(numticks=4)
        axes.minorticks_off()
    figure.axes[0].set_ylabel("out of the neuron")
    caption = (
        f"Each dot is a hidden neuron of {name} at initialisation: the sum of scores of its incoming weights against "
        "that of its outgoing ones (absolute values). On the line the score is conserved (theorem 1). Farthest off it, "
        "relative to the largest sum: "
        + ", ".join(f"{look(scorer).label} {_worst(flow)}" for scorer, flow in found.items())
    )
    return Drawing("conservation-neurons", f"Conservation of scores, neuron by neuron, {name}", f"{caption}.", figure)


def layers(name: str, found: Mapping[str, ScorerFlow], *, beside: bool) -> Drawing:
    """Mean score of each layer against its inverse size; with `beside`, the published VGG-19 in a second row."""
    rows = 2 if beside else 1
    figure = canvas(rows, len(found), width=max(5.0, 2.35 * len(found)), height=2.5 * rows)
    for column, (scorer, flow) in enumerate(found.items()):
        _layer_dots(figure.axes[column], scorer, flow.sizes, flow.means)
        figure.axes[column].set_title(look(scorer).label)
        if beside:
            theirs = "grasp_submission" if scorer == "grasp" else scorer
            rows_ = [row for row in published.table("layer_scores") if row["scorer"] == theirs]
            axes = figure.axes[len(found) + column]
            _layer_dots(axes, scorer, [int(r["size"]) for r in rows_], [float(r["mean_score"]) for r in rows_])
    for axes in figure.axes[-len(found) :]:
        axes.set_xlabel("1 / weights in layer")
    for row in range(rows):
        figure.axes[row * len(found)].set_ylabel("mean score" + (", published" if row else ""))
    caption = (
        f"Each dot is a layer of {name} at initialisation. A conserved score has the same sum in every layer, so its "
        "mean is proportional to the inverse size: the line has slope 1 (theorem 2)."
    )
    if beside:
        caption += " Below: the authors' VGG-19 for ImageNet, where GraSP is their first version."
    return Drawing("conservation-layers", f"Large layers have small scores, {name}", caption, figure)


def training(axes: Axes, steps: tuple[int, ...] = (0, 50, 200, 1000)) -> list[float]:
    """Figure 5b: mean squared weight of each layer against inverse size while the conv net trains.

    Plain SGD on the embedded images. Returns the correlation of the logarithms at each of `steps`.
    """
    torch.manual_seed(0)
    model = named("conv", 10, (1, 28, 28))
    loader = fashion_small(num_classes=10, input_shape=(1, 28, 28)).train_loader(
        64, seed=0, device="cpu", augment=False
    )
    batches = endless(loader)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    found: list[float] = []
    for before, step in zip((0, *steps), steps, strict=False):
        train(model, optimizer, islice(batches, step - before))
        weights = prunable(model).values()
        sizes = torch.tensor([float(w.numel()) for w in weights])
        means = torch.tensor([float(w.detach().square().mean()) for w in weights])
        color = (GREY, SKY, BLUE, VERMILLION, ORANGE)[len(found) % 5]
        axes.plot(1 / sizes, means, "o", color=color, alpha=0.85, label=f"{step:,} steps")
        found.append(float(torch.corrcoef(torch.stack([-sizes.log(), means.log()]))[0, 1]))
    axes.set(xscale="log", yscale="log", xlabel="1 / weights in layer", ylabel="mean squared weight")
    axes.minorticks_off()
    axes.legend(fontsize=9)
    return found


def _layer_dots(axes: Axes, scorer: str, sizes: list[int], means: list[float]) -> None:
    x, y = torch.tensor([1 / size for size in sizes]), torch.tensor(means)
    level = float((y.log() - x.log()).median().exp())  # the line of slope 1 through the middle of the dots
    ends = torch.stack([x.min() / 1.5, x.max() * 1.5])
    axes.plot(ends, level * ends, color=FAINT, linewidth=1)
    dots = axes.scatter(x, y, s=32, color=look(scorer).color, marker=look(scorer).marker, alpha=0.85, linewidths=0)
    mark(dots, scorer)
    axes.set(xscale="log", yscale="log")
    axes.set_box_aspect(1)
    axes.minorticks_off()


def _diagonal(axes: Axes, both: Tensor) -> None:
    ends = [float(both.min()) / 1.5, float(both.max()) * 1.5]
    axes.plot(ends, ends, color=FAINT, linewidth=1)


def _worst(flow: ScorerFlow) -> str:
    largest = torch.stack([flow.incoming, flow.outgoing]).abs().max()
    return f"{float((flow.incoming - flow.outgoing).abs().max() / largest):.1g}"
