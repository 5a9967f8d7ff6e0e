"""The precision of scores: by how much rounding errors alone change them, measured."""

from dataclasses import replace

import torch
from torch import Tensor

from prune_init.pruning.chance import forked
from prune_init.pruning.cost import Passes
from prune_init.pruning.loss import loss_of
from prune_init.pruning.masks import Tensors
from prune_init.pruning.scored_net import ScoredNet

ROUNDING = 8
"""Scores that differ by no more than this many units of relative rounding count as equal."""


def relative_rounding(net: ScoredNet, scores: Tensors) -> dict[str, float]:
    """The relative rounding error of each layer's scores.

    It is measured, as the change of gradients when weights change by a few units of rounding, if a pass costs only one
    example or some layer's scores are so small that they may be noise; otherwise `ROUNDING` units are assumed.
    """
    dtype = next(iter(scores.values())).dtype
    eps = torch.finfo(dtype).eps if dtype.is_floating_point else 0.0
    least = dict.fromkeys(scores, ROUNDING * eps)
    sums = {name: float(score.abs().sum()) for name, score in scores.items()}
    suspect = any(0 < value < eps**0.5 * max(sums.values()) for value in sums.values())
    if net.passes.last is None or not (net.passes.examples <= 1 or suspect):
        return least
    x, y = net.passes.last
    quiet = replace(net, passes=Passes(last=net.passes.last))  # these passes are not part of the cost of scoring

    def gradient(weights: Tensors) -> Tensors:
        with forked(next(iter(weights.values())).device, seed=0):
            output = quiet(weights, x)
        objective = quiet.summed(output) if y is None else loss_of(net.loss, output, y)
        return {name: _some(g) for name, g in quiet.gradient(objective, weights, 0).items()}

    one = gradient(net.masked_weights())
    other = gradient({name: _perturbed(w, 16 * eps).requires_grad_() for name, w in net.weights.items()})
    return {name: max(least[name], _relative_change(one[name], other[name])) for name in least}


def _perturbed(w: Tensor, step: float) -> Tensor:
    """The weights, each changed by a random relative amount of at most `step`; 4099 random numbers are repeated."""
    drawn = torch.rand(4099, generator=torch.Generator().manual_seed(0), dtype=torch.float64).mul_(2).sub_(1)
    factors = drawn.mul_(step).add_(1).to(w)
    times = -(-w.numel() // len(factors))
    return w.detach() * factors.repeat(times)[: w.numel()].view_as(w)


def _some(g: Tensor) -> Tensor:
    """A sample of a gradient, whose median is close to that of the whole."""
    return g.flatten()[:: max(1, g.numel() // 4096)]


def _relative_change(one: Tensor, other: Tensor) -> float:
    size = torch.maximum(one.abs(), other.abs())
    there = size > 0
    return float(((one - other).abs()[there] / size[there]).median()) if there.any() else 0.0
