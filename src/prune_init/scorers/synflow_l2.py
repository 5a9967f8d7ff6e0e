"""SynFlow with squared weights: paths weighted by the product of squares."""

from dataclasses import dataclass

from prune_init.errors import InputError
from prune_init.pruning.masks import Tensors
from prune_init.pruning.scored_net import ScoredNet
from prune_init.pruning.structures import size
from prune_init.scorers import synflow


@dataclass(frozen=True)
class SynFlowL2(synflow.SynFlow):
    """|w|^power * dR/d(w^2), where R is the summed output of the net with squared weights on an all-ones input.

    With `power=2` the score is conserved, as in SynFlow. `power=1` is the form of PHEW (Patil and Dovrolis 2021) and
    PX (Iurada et al. 2024), which is not. Biases, norm parameters and buffers are made non-negative as in SynFlow.
    """

    power: int = 2

    def __post_init__(self) -> None:
        """Refuse powers other than 1 and 2."""
        if self.power not in (1, 2):
            raise InputError("scorer.power", self.power, "allowed: 1, 2")

    def __call__(self, net: ScoredNet) -> Tensors:
        """|w|^power dR/d(w^2) of the masked net; needs `input_shape` or `example_input`."""
        net.once(self.make_positive)
        squares = {name: w.square().requires_grad_() for name, w in net.weights.items()}
        flow = net.summed(net(squares, net.ones))
        return {
            name: g.mul_(net.weights[name] ** self.power)
            for name, g in net.gradient(flow, squares, size(net.ones)).items()
        }
