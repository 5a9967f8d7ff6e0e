"""Score what is left: the same masks for a part of the work.

A scorer that works weight by weight, by formulas of value and gradient, needs no other weights than those that are
left. They become vectors, and layers multiply by smaller tensors as their channels die.
"""

import torch

from prune_init.pruning.live import LiveWeight
from prune_init.pruning.masks import Tensors
from prune_init.pruning.scored_net import ScoredNet

FACTOR = 0.6
"""The net is narrowed whenever the density has fallen by this factor since it last was."""


class Shrinking:
    """Makes `net` smaller as its weights go, if that is `possible`, and hands back results in whole shapes."""

    def __init__(self, net: ScoredNet, *, possible: bool) -> None:
        self._net, self._possible, self._density = net, possible, 1.0
        if possible:
            net.live = {name: LiveWeight(w.shape) for name, w in net.weights.items()}
            net.weights = {name: w.view(-1) for name, w in net.weights.items()}
            net.masks = {name: mask.view(-1) for name, mask in net.masks.items()}

    def advance(self, density: float) -> bool:
        """Go on towards `density`; returns whether the net has been narrowed before that."""
        net, narrower = self._net, self._possible and self._net.density < FACTOR * self._density
        if narrower:
            self._density = net.density
            for name, weight in net.live.items():
                net.weights[name] = weight.narrow(net.weights[name], net.masks[name])
                net.masks[name] = torch.ones_like(net.weights[name], dtype=torch.bool)
        net.density = density
        return narrower

    def finish(self, scores: Tensors) -> Tensors:
        """Give the net whole masks, and return whole scores."""
        if not self._possible:
            return scores
        net = self._net
        net.masks = {name: weight.whole(net.masks[name]) for name, weight in net.live.items()}
        return {name: weight.whole(scores[name]) for name, weight in net.live.items()}
