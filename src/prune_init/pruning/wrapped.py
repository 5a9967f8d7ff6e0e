"""The base class of scorers that wrap another scorer."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from prune_init.pruning.masks import Tensors
from prune_init.pruning.scored_net import ScoredNet

Scorer = Callable[[ScoredNet], Tensors]


@dataclass(frozen=True)
class Wrapped:
    """Has the scores and protocol (iterations, mode, ...) of the wrapped scorer, except for what a subclass changes."""

    scorer: Scorer

    def __getattr__(self, name: str) -> Any:
        return getattr(self.scorer, name)

    def __call__(self, net: ScoredNet) -> Tensors:
        """The wrapped scorer's scores."""
        return self.scorer(net)
