"""Score a smaller net once channels have died: the same masks for a part of the work.

Weights of dead channels have a gradient of exactly 0, and so a score of 0 where the score is a multiple of |w g|.
They are the first to go, and need not be computed to know that.
"""

import copy
import warnings
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from prune_init.analysis.compaction import Compaction, Compactor
from prune_init.errors import InputError
from prune_init.pruning.masks import Tensors
from prune_init.pruning.scored_net import ScoredNet

FACTOR = 0.7
"""The net is made smaller whenever the density has fallen by this factor since it last was."""


class Shrinking:
    """A scored net and, once it has one, its compact part, which is scored in its place.

    Attributes:
        net: what to score now: the whole net, or its part.
    """

    def __init__(self, whole: ScoredNet, *, possible: bool) -> None:
        self.net = self._whole = whole
        self._possible, self._density = possible, 1.0
        self._compactor: Compactor | None = None
        self._compaction: Compaction | None = None
        self._outside: Tensors | None = None  # weights that are not in the part, and not pruned yet

    def advance(self, density: float) -> ScoredNet:
        """The net to score on the way to `density`: a smaller one if that is worth its making."""
        if self._possible and self.net.density < FACTOR * self._density:
            self._density = self.net.density
            self._whole.prune(self._widened(self.net.masks))
            self._narrow()
        self.net.density = density
        return self.net

    def settle(self, scores: Tensors, keep: int) -> Tensors:
        """The scores to choose `keep` weights of `net` by: as they are, if those all score above 0.

        If so, every weight outside the part goes now. If not, some with a score of 0 stay, and which of them is a
        matter of their order in the whole net: `net` is that again, and the scores outside the part are 0.
        """
        if self._compaction is None or sum(int(torch.count_nonzero(score)) for score in scores.values()) >= keep:
            self._outside = None
            return scores
        scores, masks = self._widened(scores), self._widened(self.net.masks)
        for name, outside in (self._outside or {}).items():
            masks[name] |= outside
        self._whole.density = self.net.density
        self.net, self._compaction, self._outside = self._whole, None, None
        self.net.prune(masks)
        return scores

    def finish(self, scores: Tensors) -> Tensors:
        """Hand the masks to the whole net and return `scores` in its shapes."""
        self._whole.prune(self._widened(self.net.masks))
        return self._widened(scores)

    def _widened(self, part: Tensors) -> Tensors:
        if self._compaction is None:
            return part
        some = next(iter(part.values()))
        whole = {name: torch.zeros_like(mask, dtype=some.dtype) for name, mask in self._whole.masks.items()}
        self._compaction.widen(part, whole)
        return whole

    def _narrow(self) -> None:
        whole = self._whole
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of operations that compaction leaves alone
                self._compactor = self._compactor or Compactor(_twin(whole), _example(whole))
                small: Any = self._compactor(whole.masks)
        except InputError:  # not traceable, or collapsed: nothing to gain
            self._possible = False
            return
        found: Compaction = small.compaction
        self._compaction = found
        self._outside = {name: mask.clone() for name, mask in whole.masks.items()}
        nothing = {name: torch.zeros_like(mask) for name, mask in found.masks.items()}
        found.widen(nothing, self._outside)
        self.net = replace(
            whole,
            model=small,
            weights=found.narrow(whole.weights),
            others=found.narrow(whole.others),
            masks=found.narrow(whole.masks),
        )


def _twin(net: ScoredNet) -> nn.Module:
    """The model with the tensors that are scored: in their dtype, and as the scorer has left them."""
    twin = copy.deepcopy(net.model)
    tensors = {**net.weights, **net.others}
    for module_name, module in twin.named_modules():
        prefix = f"{module_name}." if module_name else ""
        for name in module._parameters:
            if f"{prefix}{name}" in tensors:
                module._parameters[name] = nn.Parameter(tensors[f"{prefix}{name}"], requires_grad=False)
        for name in module._buffers:
            if f"{prefix}{name}" in tensors:
                module._buffers[name] = tensors[f"{prefix}{name}"]
    return twin


def _example(net: ScoredNet) -> torch.Tensor:
    return net.ones if net.input_shape is not None else net.batches[0][0][:1]
