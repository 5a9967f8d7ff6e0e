"""SynFlow: iterative synaptic flow pruning (Tanaka et al. 2020, algorithm 1)."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from prune_init.pruning.masks import Tensors
from prune_init.pruning.scored_net import ScoredNet
from prune_init.pruning.structures import size

HIDDEN = -1e4
"""Below this lie the numbers by which masks hide tokens from attention, but no weights or statistics."""


@dataclass(frozen=True)
class SynFlow:
    """|w| * dR/d|w|, where R is the summed output of the net with absolute parameters on an all-ones input.

    R sums the weighted paths from input to output; the score of a weight is the part of R that flows through it. It is
    positive and conserved, so with many iterations no layer is emptied before it must be (theorem 3). No data.

    Differs from the published code in using float64: R overflows float32 in deep nets, and float32 masks drift.
    As published, biases, norm parameters and buffers stay in the net, made non-negative. `biases=False` leaves
    biases out, which theorem 3 requires where hidden biases are not zero. A mask that is added to attention scores
    (a tensor with numbers below -10,000, such as -inf) stays as it is: made positive, it would show what it hides.
    """

    iterations: int = 100
    mode: str = "eval"
    biases: bool = True
    dtype: torch.dtype = torch.float64
    shrinks: ClassVar = True

    def __call__(self, net: ScoredNet) -> Tensors:
        """|w| dR/d|w| of the masked net; needs `input_shape` or `example_input`."""
        net.once(self.make_positive)
        weights = net.masked_weights()
        flow = net.summed(net(weights, net.ones))
        scores = net.gradient(flow, weights, size(net.ones))
        torch._foreach_mul_(list(scores.values()), list(net.weights.values()))
        return scores

    def make_positive(self, net: ScoredNet) -> None:
        """Take absolute values in place (of copies); if `biases` is False, set biases and running means to 0."""
        floats = [t for t in net.others.values() if t.is_floating_point() and t.numel()]  # no counters of batches
        lowest = torch.stack([t.min().double() for t in floats]).tolist() if floats else []
        others = [t for t, low in zip(floats, lowest, strict=True) if not low < HIDDEN]
        for tensor in (*net.weights.values(), *others):
            tensor.abs_()
        if not self.biases:
            for name, tensor in net.others.items():
                if name.endswith(("bias", "running_mean")):
                    tensor.zero_()
