"""Our layer densities beside the authors': VGG-16 on CIFAR-100, per exponent and layer.

    prune-init published --exponents 1 2 3

SynFlow, magnitude and random need no data, so the published numbers can be checked anywhere. Source: result files of
ganguli-lab/Synaptic-Flow, commit 9dfa57a, `Results/data` (three runs each, tabulated in the CSV file beside this).
"""

import csv
import math
from collections import defaultdict
from dataclasses import dataclass
from importlib.resources import files
from itertools import product
from statistics import mean, variance

import torch

from prune_init import host
from prune_init.architectures.vgg import vgg
from prune_init.arguments import Parser, whole
from prune_init.loop import prune

SCORERS = ("synflow", "magnitude", "random")


@dataclass(frozen=True)
class Comparison:
    """Weights kept in one layer of `size` weights: `ours` and `theirs`, one number per run."""

    exponent: float
    layer: int
    size: int
    ours: list[int]
    theirs: list[int]

    @property
    def difference(self) -> float:
        """Relative difference of our mean from theirs; 0 if theirs is 0."""
        return mean(self.ours) / mean(self.theirs) - 1 if any(self.theirs) else 0.0

    @property
    def noise(self) -> float:
        """Standard error of that difference, from each side's spread over runs; nan for a single run."""
        if min(len(self.ours), len(self.theirs)) < 2 or not any(self.theirs):
            return math.nan
        return math.sqrt(sum(variance(runs) / len(runs) for runs in (self.ours, self.theirs))) / mean(self.theirs)


def published(scorer: str) -> dict[tuple[float, int], list[int]]:
    """Weights kept in each published run, by exponent and layer."""
    kept = defaultdict(list)
    with files("prune_init.analysis").joinpath("published_vgg16_cifar100.csv").open() as file:
        for row in csv.DictReader(file):
            if row["scorer"] == scorer:
                kept[float(row["exponent"]), int(row["layer"])].append(int(row["kept"]))
    return dict(kept)


def compare(scorer: str, exponents: list[float], seeds: int) -> list[Comparison]:
    """Prune VGG-16 for CIFAR-100 with our defaults at each exponent, `seeds` times, beside the published runs."""
    theirs = published(scorer)
    kept: dict[tuple[float, int], list[int]] = defaultdict(list)
    sizes: dict[int, int] = {}
    for exponent, seed in product(exponents, range(seeds)):
        torch.manual_seed(seed)
        model = vgg(16, num_classes=100, input_shape=(3, 32, 32))
        with host.console().status(f"exponent {exponent:g}, seed {seed}"):
            result = prune(model, scorer, 1 - 10**-exponent)
        for layer, row in enumerate(result.layers):
            kept[exponent, layer].append(row.kept)
            sizes[layer] = row.size
    return [
        Comparison(exponent, layer, sizes[layer], ours, theirs[exponent, layer])
        for (exponent, layer), ours in kept.items()
    ]


def main() -> None:
    """Print the comparison."""
    available = sorted({exponent for exponent, _ in published("synflow")})
    parser = Parser(__doc__)
    parser.add_argument("--scorer", default="synflow", choices=SCORERS)
    parser.add_argument("--exponents", type=float, nargs="+", default=[1.0, 2.0, 3.0], choices=available)
    parser.add_argument("--seeds", type=whole(1), default=3, help="runs per exponent (3 were published)")
    chosen = parser.parse_args()
    rows = compare(chosen.scorer, chosen.exponents, chosen.seeds)
    heads = ("exponent", "layer", "size", "ours", "theirs", "difference", "noise")
    table = host.table(*heads, words=0, title=f"Weights kept per layer, {chosen.scorer}, VGG-16 on CIFAR-100")
    for row in rows:
        table.add_row(
            f"{row.exponent:g}", str(row.layer), f"{row.size:,}", f"{mean(row.ours):,.1f}", f"{mean(row.theirs):,.1f}",
            f"{100 * row.difference:+.1f} %", f"{100 * row.noise:.1f} %",
        )  # fmt: skip
    console = host.console()
    console.print(table)
    worst = max((abs(row.difference) for row in rows if mean(row.theirs) > 100), default=0.0)
    console.print(f"largest difference in layers with more than 100 weights kept: {100 * worst:.1f} %")


if __name__ == "__main__":
    main()
