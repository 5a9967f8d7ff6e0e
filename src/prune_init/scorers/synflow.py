"""SynFlow: iterative synaptic flow pruning (Tanaka et al. 2020, algorithm 1)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from prune_init.pruning.masks import Tensors
from prune_init.pruning.scored_net import ScoredNet


@dataclass(frozen=True)
class SynFlow:
    """|w| * dR/d|w| with R the summed output of the net with absolute parameters on an all-ones input.

    R counts the weighted paths from input to output; the score of a weight is the share of R that flows through it.
    The score is positive and conserved, so with many iterations no layer empties before it must (theorem 3). No data.

    Differs from the published code: float64, because R overflows float32 in deep nets and float32 masks drift.
    As published, biases, norm parameters and buffers stay in the net, made non-negative. `biases=False` leaves
    biases out, which theorem 3 asks for where hidden biases are not zero.
    """

    iterations: int = 100
    mode: str = "eval"
    biases: bool = True
    dtype: torch.dtype = torch.float64

    def __call__(self, net: ScoredNet) -> Tensors:
        """|w| dR/d|w| of the masked net; needs `input_shape`."""
        for w in net.weights.values():
            w.abs_()  # in place: these are the scorer's own copies, and nothing here depends on signs
        weights = net.masked_weights()
        flow = net(weights, net.ones, self.positive(net.others)).sum()
        return {name: g.mul_(net.weights[name]) for name, g in net.gradient(flow, weights, 1).items()}

    def positive(self, others: Tensors) -> Tensors:
        """Biases, norm parameters and buffers as the flow sees them."""
        return {name: self._positive(name, tensor) for name, tensor in others.items()}

    def _positive(self, name: str, tensor: Tensor) -> Tensor:
        if not self.biases and name.endswith(("bias", "running_mean")):
            return torch.zeros_like(tensor)
        # Integer buffers count batches; they have no sign to lose.
        return tensor.abs() if tensor.is_floating_point() else tensor
