"""A scorer, which gives each weight a score; the weights with the highest scores are kept."""

from dataclasses import dataclass

from torch import Tensor

from prune_init.pruning.scored_net import ScoredNet


@dataclass(frozen=True)
class RelativeMagnitude:
    """|w| divided by the mean of |w| in its layer, so that layers with small weights are not pruned first."""

    iterations: int = 1
    mode: str = "eval"

    def __call__(self, net: ScoredNet) -> dict[str, Tensor]:
        """A tensor of scores for each weight tensor, by its name."""
        return {name: w.abs() / w.abs().mean() for name, w in net.weights.items()}
