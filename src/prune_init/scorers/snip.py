"""SNIP: single-shot network pruning (Lee et al. 2019)."""

from dataclasses import dataclass
from typing import ClassVar

from prune_init.pruning.masks import Tensors
from prune_init.pruning.scored_net import ScoredNet


@dataclass(frozen=True)
class Snip:
    """|w * dL/dw|: how much the loss changes, to first order, when a weight is removed.

    L is the mean loss over the pruning sample: batches are weighted by size, so that in eval mode the split into
    batches does not matter (published code weights all batches equally, the same if they have equal sizes).

    The mode of the norm layers is the choice with the largest effect on VGG-16. Eval mode is the default: the original
    TensorFlow code runs them in inference mode, and so does the published SynFlow comparison unless asked otherwise.
    """

    iterations: int = 1
    mode: str = "eval"
    examples_per_class: int = 10
    shrinks: ClassVar = True

    def __call__(self, net: ScoredNet) -> Tensors:
        """|w g| with g the gradient of the masked net; needs `data`."""
        gradient = net.loss_gradient(net.masked_weights())
        return {name: g.mul_(net.weights[name]).abs_() for name, g in gradient.items()}
