"""Random pruning with 'uniform+' densities (Gale et al. 2019)."""

from collections.abc import Mapping
from dataclasses import dataclass

from prune_init.pruning.masks import Tensors, rank_in_layer
from prune_init.pruning.scored_net import ScoredNet
from prune_init.scorers import random


@dataclass(frozen=True)
class RandomUniformPlus:
    """Random weights; the first layer stays dense, the last keeps at least 20 %, the rest share what is left. No data.

    Where the budget does not reach for that, the cut falls on all layers alike.
    """

    iterations: int = 1
    mode: str = "eval"

    def __call__(self, net: ScoredNet) -> Tensors:
        """-(rank + 1/2) / (n d) in random order."""
        densities = uniform_plus_densities({name: w.numel() for name, w in net.weights.items()}, net.density)
        ranked = rank_in_layer(random.Random()(net), net.masks)
        return {name: rank / densities[name] for name, rank in ranked.items()}


def uniform_plus_densities(sizes: Mapping[str, int], density: float) -> dict[str, float]:
    """Density of each layer, by size in order from input to output, such that the whole has `density`."""
    first, *_, last = sizes
    found = {first: 1.0, last: max(0.2, density)}
    budget = density * sum(sizes.values()) - sum(found[name] * sizes[name] for name in found)
    rest = sum(size for name, size in sizes.items() if name not in found)
    smallest = 1e-12  # scores divide by densities
    return {name: found.get(name, max(budget / rest, smallest) if rest else density) for name in sizes}
