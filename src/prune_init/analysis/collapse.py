"""How far a scorer can go before no path is left.

    python -m prune_init.analysis.collapse

prints the table for all scorers on VGG-11, VGG-16 and ResNet-18. Scorers that need data get random images: where a
net collapses hangs on its layers far more than on what it sees.
"""

import argparse
import copy
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from torch import nn

from prune_init.architectures.resnet import resnet, thin_resnet
from prune_init.architectures.vgg import vgg
from prune_init.errors import InputError
from prune_init.pruning.loop import prune
from prune_init.pruning.masks import Tensors
from prune_init.pruning.scored_net import ScoredNet
from prune_init.pruning.weights import prunable
from prune_init.scorers import named, names

NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "vgg11": partial(vgg, 11),
    "vgg16": partial(vgg, 16),
    "resnet18": partial(resnet, 18),
    "resnet20": partial(thin_resnet, 20),
}
SCORERS = ("random", "random_erk", "magnitude", "snip", "grasp", "iter_snip", "synflow")


@dataclass(frozen=True)
class CriticalCompression:
    """The largest compression at which a path is left, `critical`, beside `maximal` = N / layers.

    `kept` is the number of weights at `critical`, found to within a factor of `resolution`. `critical` can exceed
    `maximal` in nets with skip connections, whose layers need not all be on a path.
    """

    critical: float
    maximal: float
    kept: int

    @property
    def exponent(self) -> float:
        """log10 of `critical`, the x axis of the published figures."""
        return math.log10(self.critical)

    @property
    def maximal_exponent(self) -> float:
        """log10 of `maximal`."""
        return math.log10(self.maximal)


def critical_compression(
    model: nn.Module, scorer: str | Callable[..., Any] = "synflow", *, resolution: float = 1.02, **options: Any
) -> CriticalCompression:
    """The largest compression before layer collapse (Tanaka et al. 2020, section 3), by bisection on copies.

    A net has collapsed when no path leads from input to output. The search is over the number of weights kept, on a
    log scale, between one weight per layer (the maximal compression) and all; it tries the maximal compression
    first, which a scorer that meets theorem 3 reaches, and goes on below one weight per layer from there.

    Args:
        model: only read.
        scorer: as in `prune_init.prune`.
        resolution: stop when the bracket of weights kept is within this factor, or one weight.
        options: as in `prune_init.prune`; `data` must be repeatable.

    Raises:
        InputError: the whole net is not connected, or paths cannot be followed.
    """
    weights = prunable(model, include=options.get("include"), exclude=options.get("exclude"))
    total, layers = sum(w.numel() for w in weights.values()), len(weights)
    scorer = _scored_once(scorer, options)

    def connected(keep: int) -> bool:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*some layers must be empty")
            found = prune(copy.deepcopy(model), scorer, 1 - keep / total, **options).connected
        if found is None:
            raise InputError("model", type(model).__name__, "paths cannot be followed: give input_shape=(C, H, W)")
        return found

    low, high = (0, layers) if connected(layers) else (layers, total)
    if high == total and not connected(total):
        raise InputError("model", type(model).__name__, "is not connected even without pruning")
    while high - low > 1 and high > resolution * low:
        middle = round(math.sqrt(low * high)) if low > 0 else high // 2
        middle = min(max(middle, low + 1), high - 1)
        low, high = (low, middle) if connected(middle) else (middle, high)
    return CriticalCompression(critical=total / high, maximal=total / layers, kept=high)


def _scored_once(scorer: str | Callable[..., Any], options: dict[str, Any]) -> Callable[..., Any]:
    """One-shot scores of the dense net are the same for every sparsity: take them once."""
    made = named(scorer) if isinstance(scorer, str) else scorer
    repeated = (options.get("iterations") or getattr(made, "iterations", 1)) != 1
    return made if repeated or getattr(made, "uses_density", False) else _Remembered(made)


class _Remembered:
    def __init__(self, scorer: Callable[[ScoredNet], Tensors]) -> None:
        self._scorer = scorer
        self._scores: Tensors = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._scorer, name)

    def __call__(self, net: ScoredNet) -> Tensors:
        self._scores = self._scores or self._scorer(net)
        return self._scores


def main() -> None:
    """Print the table of all scorers on the paper's networks."""
    parser = argparse.ArgumentParser(prog="python -m prune_init.analysis.collapse", description=__doc__)
    parser.add_argument("--architectures", nargs="+", default=["vgg11", "vgg16", "resnet18"], choices=NETWORKS)
    parser.add_argument("--scorers", nargs="+", default=list(SCORERS), choices=names())
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    table = Table(box=SIMPLE_HEAD, title="Critical compression, log10 (32x32 images, 10 classes)")
    table.add_column("network")
    table.add_column("maximal", justify="right")
    for scorer in chosen.scorers:
        table.add_column(scorer, justify="right")
    console = Console()
    for architecture in chosen.architectures:
        found = []
        for scorer in chosen.scorers:
            with console.status(f"{architecture}, {scorer}"):
                torch.manual_seed(chosen.seed)
                model = NETWORKS[architecture](num_classes=10, input_shape=(3, 32, 32))
                data = [(torch.randn(100, 3, 32, 32), torch.arange(100) % 10)]
                found.append(critical_compression(model, scorer, data=data, input_shape=(3, 32, 32)))
        table.add_row(
            architecture, f"{found[0].maximal_exponent:.2f}", *[f"{f.exponent:.2f}" if f else "" for f in found]
        )
    console.print(table)


if __name__ == "__main__":
    main()
