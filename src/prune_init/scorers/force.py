"""FORCE: foresight connection sensitivity (de Jorge et al. 2021, section 4)."""

from dataclasses import dataclass
from typing import ClassVar

from prune_init.pruning.masks import Tensors
from prune_init.pruning.scored_net import ScoredNet


@dataclass(frozen=True)
class Force:
    """|w * dL/dw~| with the dense weights w and the gradient at the masked weights w~ = w * m.

    The gradient is not masked, so a pruned weight has a score too and can return. Train mode, as published.
    """

    iterations: int = 60
    mode: str = "train"
    examples_per_class: int = 10
    revives: ClassVar = True

    def __call__(self, net: ScoredNet) -> Tensors:
        """|w g| of every weight, pruned ones included; needs `data`."""
        assert net.dense is not None  # because `revives`
        gradient = net.loss_gradient(net.masked_weights())
        return {name: g.mul_(net.dense[name]).abs_() for name, g in gradient.items()}
