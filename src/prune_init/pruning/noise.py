"""How exact scores are: what rounding alone changes in them, measured."""

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
    """The relative rounding of each layer's scores.

    It is measured, by a pass with weights that differ by some units of rounding, where that costs one example; and
    elsewhere only where scores of a layer are so small that they may be noise.
    """
    dtype = next(iter(scores.values())).dtype
    eps = torch.finfo(dtype).eps if dtype.is_floating_point else 0.0
    least = dict.fromkeys(scores, ROUNDING * eps)
    sums = {name: float(score.abs().sum()) for name, score in scores.items()}
    suspect = any(0 < value < eps**0.5 * max(sums.values()) for value in sums.values())
    if net.passes.last is None or not (net.passes.examples <= 1 or suspect):
        return least
    x, y = net.passes.last
    quiet = replace(net, passes=Passes(last=net.passes.last))  # not counted

    def gradient(weights: Tensors) -> Tensors:
        with forked(next(iter(weights.values())).device, seed=0):
            output = quiet(weights, x)
        objective = quiet.summed(output) if y is None else loss_of(net.loss, output, y)
        return {name: _some(g) for name, g in quiet.gradient(objective, weights, 0).items()}

    one = gradient(net.masked_weights())
    other = gradient({name: _perturbed(w, 16 * eps).requires_grad_() for name, w in net.weights.items()})
    return {name: max(least[name], _relative_change(one[name], other[name])) for name in least}


def _perturbed(w: Tensor, step: float) -> Tensor:
    """The weights, each changed by at most this part of itself, at random as far as its neighbours are concerned."""
    drawn = torch.rand(4099, generator=torch.Generator().manual_seed(0), dtype=torch.float64).mul_(2).sub_(1)
    factors = drawn.mul_(step).add_(1).to(w)
    times = -(-w.numel() // len(factors))
    return w.detach() * factors.repeat(times)[: w.numel()].view_as(w)


def _some(g: Tensor) -> Tensor:
    """A sample of a gradient: its median is that of the whole, nearly."""
    return g.flatten()[:: max(1, g.numel() // 4096)]


def _relative_change(one: Tensor, other: Tensor) -> float:
    size = torch.maximum(one.abs(), other.abs())
    there = size > 0
    return float(((one - other).abs()[there] / size[there]).median()) if there.any() else 0.0
