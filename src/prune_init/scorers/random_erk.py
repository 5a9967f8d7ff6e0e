"""Random pruning with Erdős-Rényi-kernel densities (Evci et al. 2020, 'Rigging the lottery', section 3)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from prune_init.pruning.masks import Tensors, rank_in_layer
from prune_init.pruning.scored_net import ScoredNet
from prune_init.scorers import random


@dataclass(frozen=True)
class RandomErk:
    """Random weights are kept, at layer densities proportional to sum(shape) / prod(shape). No data.

    Common code clamps densities at 1 and so misses the total. Here, layers whose density would exceed 1 become dense
    and the densities of the others are solved for again.
    """

    iterations: int = 1
    mode: str = "eval"
    uses_density: ClassVar = True

    def __call__(self, net: ScoredNet) -> Tensors:
        """-(rank + 1/2) / (n d) of each weight, with random ranks, in a layer of n weights at density d."""
        densities = erk_densities({name: w.shape for name, w in net.weights.items()}, net.final_density)
        return rank_in_layer(random.Random()(net), net.masks, densities)


def erk_densities(shapes: Mapping[str, Sequence[int]], density: float) -> dict[str, float]:
    """The ERK density of each layer, such that the whole net has `density` and no layer exceeds 1."""
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    dense: set[str] = set()
    while True:
        free = [name for name in shapes if name not in dense]
        budget = density * sum(sizes.values()) - sum(sizes[name] for name in dense)
        scale = budget / sum(sum(shapes[name]) for name in free) if free else 0.0
        found = {name: scale * sum(shapes[name]) / sizes[name] for name in free}
        over = {name for name, value in found.items() if value > 1}
        if not over:
            return found | dict.fromkeys(dense, 1.0)
        dense |= over
