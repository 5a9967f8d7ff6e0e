"""Scoring on a GPU as one CUDA graph: what an iteration computes is recorded once, then launched as a whole.

Off until it has been measured on a GPU: `scripts/gpu_check` compares its masks and its time.
"""

from collections.abc import Callable

import torch

from prune_init.errors import InputError
from prune_init.pruning.cost import Passes
from prune_init.pruning.masks import Tensors
from prune_init.pruning.scored_net import ScoredNet

ON = False


class Replayed:
    """A scorer that computes the same in every iteration, on weights that stay where they are in memory.

    The first iteration may change the net's copies, so the second one is recorded. A net that makes the host wait, or
    that cannot be recorded for another reason, is scored as without a graph.

    Args:
        scorer: a scorer with `shrinks`, so that its scores depend on each weight and its gradient alone.
    """

    def __init__(self, scorer: Callable[[ScoredNet], Tensors]) -> None:
        self._scorer, self._iteration = scorer, 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._scores: Tensors = {}
        self._passes = Passes()

    def __call__(self, net: ScoredNet) -> Tensors:
        """The scorer's scores; from the second iteration on they are in the same memory each time."""
        self._iteration += 1
        if self._iteration == 2:
            self._record(net)
        if self._graph is None:
            return self._scorer(net)
        self._graph.replay()
        net.passes.repeat(self._passes)
        return self._scores

    def _record(self, net: ScoredNet) -> None:
        graph, passes = torch.cuda.CUDAGraph(), net.passes
        net.passes = self._passes = Passes(last=passes.last)
        try:
            with torch.cuda.graph(graph):
                self._scores = self._scorer(net)
            self._graph = graph
        except (RuntimeError, InputError):
            graph.reset()
        finally:
            net.passes = passes
