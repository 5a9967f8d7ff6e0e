"""The passes that each scorer needs, measured by scoring: the table in the rebuttal of the SynFlow paper.

    prune-init cost

The number of passes depends on the numbers of classes and iterations, not on the network or the size of the images,
so each case runs on a small network and small random images, with the real number of examples.
"""

import torch
from rich.table import Table
from torch import nn

from prune_init import host
from prune_init.arguments import Parser
from prune_init.loop import prune
from prune_init.pruning.cost import Cost
from prune_init.pruning.sample import Batch
from prune_init.scorers import named

CLASSES = {"CIFAR-10": 10, "CIFAR-100": 100, "Tiny-ImageNet": 200, "ImageNet": 1000}
CASES = {"SynFlow": "synflow", "SNIP": "snip", "GraSP": "grasp", "SNIP x 100": "iter_snip"}


def bill(scorer: str, classes: int) -> Cost:
    """The cost of pruning once with the scorer's published defaults (10 examples per class, if it needs data)."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, classes))
    per_class = getattr(named(scorer), "examples_per_class", 0)
    return prune(model, scorer, 0.5, input_shape=(3, 4, 4), data=_sample(per_class, classes)).cost


def _sample(per_class: int, classes: int) -> list[Batch]:
    labels = torch.arange(classes).repeat_interleave(per_class)
    return list(zip(torch.randn(len(labels), 3, 4, 4).split(256), labels.split(256), strict=True))


def main() -> None:
    """Print the table of passes, and a table of what they consist of."""
    parser = Parser(__doc__)
    parser.add_argument("--datasets", nargs="+", default=list(CLASSES), choices=CLASSES, help="default: all")
    chosen = parser.parse_args().datasets
    bills = {label: {name: bill(scorer, CLASSES[name]) for name in chosen} for label, scorer in CASES.items()}
    console = host.console()
    rows = {label: [cost.passes for cost in of.values()] for label, of in bills.items()}
    console.print(_table("Passes to prune (iterations x examples per iteration)", chosen, rows))
    counted, shown = ("forward", "backward", "hessian"), "CIFAR-100" if "CIFAR-100" in chosen else chosen[0]
    rows = {label: [getattr(of[shown].ledger, kind) for kind in counted] for label, of in bills.items()}
    console.print(_table(f"Examples sent through the net for them, {shown}", list(counted), rows))


def _table(title: str, columns: list[str], rows: dict[str, list[int]]) -> Table:
    table = host.table("scorer", *columns, title=title)
    for label, numbers in rows.items():
        table.add_row(label, *[f"{number:,}" for number in numbers])
    return table


if __name__ == "__main__":
    main()
