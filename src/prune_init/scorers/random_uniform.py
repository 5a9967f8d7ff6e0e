"""Random pruning with the same density in every layer."""

from dataclasses import dataclass

from prune_init.pruning.masks import Tensors, rank_in_layer
from prune_init.pruning.scored_net import ScoredNet
from prune_init.scorers import random


@dataclass(frozen=True)
class RandomUniform:
    """Random ranks within each layer: round(density n) random weights of every layer are kept. No data."""

    iterations: int = 1
    mode: str = "eval"

    def __call__(self, net: ScoredNet) -> Tensors:
        """-(rank + 1/2) / n of each weight, with random ranks, in a layer of n weights."""
        return rank_in_layer(random.Random()(net), net.masks)
