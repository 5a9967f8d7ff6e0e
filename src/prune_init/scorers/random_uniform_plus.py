"""Random pruning with 'uniform+' densities (Gale et al. 2019)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from prune_init.pruning.masks import Tensors, rank_in_layer
from prune_init.pruning.scored_net import ScoredNet
from prune_init.scorers import random


@dataclass(frozen=True)
class RandomUniformPlus:
    """Random weights are kept: the first layer is dense, the last at least 20 % dense, all others share one density.

    First and last are meant in the order in which the model has its layers as attributes. If the total is too small
    for a dense first layer and these 20 %, all layers get the same density. No data.
    """

    iterations: int = 1
    mode: str = "eval"
    uses_density: ClassVar = True

    def __call__(self, net: ScoredNet) -> Tensors:
        """-(rank + 1/2) / (n d) of each weight, with random ranks, in a layer of n weights at density d."""
        densities = uniform_plus_densities({name: w.numel() for name, w in net.weights.items()}, net.final_density)
        return rank_in_layer(random.Random()(net), net.masks, densities)


def uniform_plus_densities(sizes: Mapping[str, int], density: float, least: float = 0.2) -> dict[str, float]:
    """The density of each layer, such that the whole net has `density`; `sizes` are ordered from input to output."""
    first, *others = sizes
    if not others:
        return {first: density}
    *middle, last = others
    budget = density * sum(sizes.values()) - sizes[first]
    shared = budget / sum(sizes[name] for name in others)
    if shared >= least:
        return {first: 1.0, **dict.fromkeys(others, shared)}
    shared = (budget - least * sizes[last]) / sum(sizes[name] for name in middle) if middle else 0.0
    if shared <= 0:
        return dict.fromkeys(sizes, density)
    return {first: 1.0, **dict.fromkeys(middle, shared), last: least}
