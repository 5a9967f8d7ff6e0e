"""Scoring only the remaining weights: the same masks with less work.

A scorer whose score is a formula of each weight and its gradient alone needs only the remaining weights. They are
stored as vectors, and layers multiply by smaller tensors once all weights of a channel are pruned.
"""

from typing import Any

import torch
from torch import Tensor, nn

from prune_init.pruning import masks as masking
from prune_init.pruning import plain_run
from prune_init.pruning.engine import equivalence
from prune_init.pruning.engine.calls import LiveCalls
from prune_init.pruning.engine.live import LiveWeight
from prune_init.pruning.masks import Tensors
from prune_init.pruning.read_only import weights_only_read
from prune_init.pruning.scored_net import ScoredNet

FACTOR = 0.6
"""The net is narrowed when the density has fallen below this factor times the density at the last narrowing."""


class Shrinking:
    """Makes `net` smaller as its weights are pruned, if that is `possible`, and restores whole shapes of results."""

    def __init__(self, net: ScoredNet, *, possible: bool) -> None:
        self._net, self._possible, self._density = net, possible, 1.0
        self._live: dict[str, LiveWeight] = {}
        if possible:
            self._live = {name: LiveWeight(w.shape) for name, w in net.weights.items()}
            net.weights = {name: w.view(-1) for name, w in net.weights.items()}
            net.masks = {name: mask.view(-1) for name, mask in net.masks.items()}
            net.run = self._run

    def advance(self, density: float) -> bool:
        """Begin the iteration that prunes to `density`; returns whether the net was narrowed for it."""
        net, narrower = self._net, self._possible and self._net.density < FACTOR * self._density
        if narrower:
            self._density = net.density
            for name, weight in self._live.items():
                net.weights[name] = weight.narrow(net.weights[name], net.masks[name])
                net.masks[name] = torch.ones_like(net.weights[name], dtype=torch.bool)
        for weight in self._live.values():
            weight.begin_iteration()
        net.density = density
        return narrower

    def remove(self, pruned: Tensors, masks: Tensors) -> None:
        """Remove the `pruned` weights of a `Choice` from `masks`, in place, and make these the net's masks."""
        net = self._net
        for name, w in net.weights.items():
            masking.fill(masks[name], pruned[name], False)
            if self._possible:
                self._live[name].clear(w, pruned[name])
            elif net.dense is not None:
                w.copy_(net.dense[name]).masked_fill_(~masks[name], 0)
            else:
                masking.fill(w, pruned[name], 0)
        net.masks = masks

    def finish(self, scores: Tensors) -> Tensors:
        """Give the net masks of whole shape, and return the scores in whole shape."""
        self._net.masks = self.whole(self._net.masks)
        return self.whole(scores)

    def whole(self, tensors: Tensors) -> Tensors:
        """The tensors in the shapes of the model's weights, with 0 or False for entries that were left out."""
        return {name: self._live[name].whole(t) for name, t in tensors.items()} if self._possible else tensors

    def _run(self, model: nn.Module, weights: Tensors, others: Tensors, x: Any) -> Any:
        if isinstance(x, Tensor) and self._net.sample.is_ones(x):
            equivalence.uniform(x)
        calls = LiveCalls(self._live, weights)
        with weights_only_read(model, calls.tensors), calls:
            return plain_run.call(model, calls.tensors, others, x)
