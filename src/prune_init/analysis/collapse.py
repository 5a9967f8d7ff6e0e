"""The critical compression of each scorer beside the maximal one.

Scorers that need data get random images: where a net collapses depends far more on its layers than on the data.
"""

import torch

from prune_init import host
from prune_init.allowed import SEED
from prune_init.analysis.critical_compression import critical_compression
from prune_init.architectures import named as networks
from prune_init.arguments import Parser, whole
from prune_init.scorers import named, names

SCORERS = ("random", "random_erk", "magnitude", "snip", "grasp", "iter_snip", "synflow")


def main() -> None:
    """Print the table of the scorers and networks asked for."""
    parser = Parser(__doc__)
    parser.add_argument("--architectures", nargs="+", default=["vgg11", "vgg16", "resnet18"], choices=networks.NETWORKS)
    parser.add_argument("--scorers", nargs="+", default=list(SCORERS), choices=names())
    parser.add_argument("--iterations", type=whole(1), help="of iterative scorers; default: each one's own")
    parser.add_argument("--seed", type=whole(SEED), default=0)
    chosen = parser.parse_args()
    title = "Critical compression, log10 (32x32 images, 10 classes)"
    table = host.table("network", "maximal", *chosen.scorers, title=title)
    console = host.console()
    for architecture in chosen.architectures:
        found = []
        for scorer in chosen.scorers:
            with console.status(f"{architecture}, {scorer}"):
                torch.manual_seed(chosen.seed)
                model = networks.named(architecture, 10, (3, 32, 32))
                data = [(torch.randn(100, 3, 32, 32), torch.arange(100) % 10)]
                repeats = chosen.iterations if getattr(named(scorer), "iterations", 1) > 1 else None
                found.append(
                    critical_compression(model, scorer, data=data, input_shape=(3, 32, 32), iterations=repeats)
                )
        table.add_row(architecture, f"{found[0].maximal_exponent:.2f}", *[f"{one.exponent:.2f}" for one in found])
    console.print(table)


if __name__ == "__main__":
    main()
