"""Figures of the paper's theory, computed on the spot: neurons (figure 3), layers (figure 4), training (figure 5b)."""

from collections.abc import Callable, Mapping
from functools import partial
from itertools import islice
from typing import Any

import torch
from matplotlib.axes import Axes
from torch import Tensor, nn

from prune_init.analysis.conservation import endless, train
from prune_init.architectures.named import NETWORKS, named
from prune_init.data.dataset import Dataset
from prune_init.data.fashion_small import fashion_small
from prune_init.errors import InputError
from prune_init.pruning.weights import prunable
from prune_init.report import published
from prune_init.report.drawing import Drawing, canvas, mark
from prune_init.report.palette import BLUE, FAINT, GREY, SKY, VERMILLION, look
from prune_init.report.scores import ScorerFlow, flows

IMAGE = (1, 28, 28)
"""The shape of the embedded images."""
SCORERS = ("random", "magnitude", "snip", "grasp", "synflow")


def builder(net: Mapping[str, Any]) -> Callable[[], nn.Module]:
    """A function that builds the network of these settings, as a run records them.

    Raises:
        InputError: it is not one of ours: a report runs no other code, and downloads nothing.
    """
    ours = {f"{make.__module__}.{make.__name__}": make for make in (getattr(m, "func", m) for m in NETWORKS.values())}
    if net.get("_target_") not in ours:
        raise InputError("architecture", net.get("name"), f"a report builds only: {', '.join(NETWORKS)}")
    return partial(ours[net["_target_"]], **{key: net[key] for key in net if key not in ("name", "_target_")})


def measured(
    make: Callable[[], nn.Module], num_classes: int, input_shape: tuple[int, ...], scorers: tuple[str, ...]
) -> dict[str, ScorerFlow]:
    """Scores of the net that `make` builds, at initialisation, seed 0, on two images per class.

    They are the embedded images if these fit the net, else noise (then at most 20).
    """
    torch.manual_seed(0)
    model = make()
    if input_shape == IMAGE and num_classes == 10:
        return flows(model, scorers, _images().sample(2, seed=0, augment=False))
    labels = torch.arange(min(20, 2 * num_classes)) % num_classes
    return flows(model, scorers, [(torch.randn(len(labels), *input_shape), labels)])


def _images() -> Dataset:
    return fashion_small(num_classes=10, input_shape=IMAGE)


def neurons(name: str, found: Mapping[str, ScorerFlow], *, narrow: bool = False) -> Drawing:
    """Plot the score into each neuron against the score out of it, on log axes."""
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
    title = f"Conservation of scores, neuron by neuron, {name}"
    return Drawing("conservation-neurons", title, f"{caption}.", figure, narrow=narrow)


def layers(name: str, found: Mapping[str, ScorerFlow]) -> Drawing:
    """Plot the mean score of each layer against its inverse size; the second row shows the published VGG-19."""
    figure = canvas(2, len(found), width=max(5.0, 2.35 * len(found)), height=5.0)
    above, below = figure.axes[: len(found)], figure.axes[len(found) :]
    for ours, published_axes, (scorer, flow) in zip(above, below, found.items(), strict=True):
        _layer_dots(ours, scorer, flow.sizes, flow.means)
        ours.set_title(look(scorer).label)
        theirs = "grasp_submission" if scorer == "grasp" else scorer
        rows = [row for row in published.table("layer_scores") if row["scorer"] == theirs]
        sizes, means = [int(row["size"]) for row in rows], [float(row["mean_score"]) for row in rows]
        _layer_dots(published_axes, scorer, sizes, means)
        published_axes.set_xlabel("1 / weights in layer")
    above[0].set_ylabel("mean score")
    below[0].set_ylabel("mean score, published")
    caption = (
        f"Each dot is a layer of {name} at initialisation. A conserved score has the same sum in every layer, so its "
        "mean is proportional to the inverse size: the line has slope 1 (theorem 2). Below: the authors' VGG-19 for "
        "ImageNet, where GraSP is their first version."
    )
    return Drawing("conservation-layers", f"Large layers have small scores, {name}", caption, figure)


def training(axes: Axes) -> list[float]:
    """Draw figure 5b: mean squared weight of each layer against inverse size while the conv net trains.

    It trains by plain SGD on the embedded images. Returns the correlation of the logarithms at each step shown.
    """
    torch.manual_seed(0)
    model = named("conv", 10, IMAGE)
    batches = endless(_images().train_loader(64, seed=0, device="cpu", augment=False))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    found: list[float] = []
    done = 0
    for step, color in ((0, GREY), (50, SKY), (200, BLUE), (1000, VERMILLION)):
        train(model, optimizer, islice(batches, step - done))
        done = step
        weights = prunable(model).values()
        sizes = torch.tensor([float(w.numel()) for w in weights])
        means = torch.tensor([float(w.detach().square().mean()) for w in weights])
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
