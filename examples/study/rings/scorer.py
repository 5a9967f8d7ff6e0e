"""A scorer: what a weight is worth; the largest stay."""

from dataclasses import dataclass

from torch import Tensor

from prune_init.pruning.scored_net import ScoredNet


@dataclass(frozen=True)
class RelativeMagnitude:
    """|w| over the mean of its layer, so that layers of small weights are not emptied first."""

    iterations: int = 1
    mode: str = "eval"

    def __call__(self, net: ScoredNet) -> dict[str, Tensor]:
        """A score for each weight, by the name of its tensor."""
        return {name: w.abs() / w.abs().mean() for name, w in net.weights.items()}
