"""Magnitude pruning at initialisation."""

from dataclasses import dataclass

from prune_init.pruning.masks import Tensors
from prune_init.pruning.scored_net import ScoredNet


@dataclass(frozen=True)
class Magnitude:
    """|w|. No data. One iteration: without training in between, more iterations give the same mask."""

    iterations: int = 1
    mode: str = "eval"

    def __call__(self, net: ScoredNet) -> Tensors:
        """|w| of every weight."""
        return {name: w.abs() for name, w in net.weights.items()}
