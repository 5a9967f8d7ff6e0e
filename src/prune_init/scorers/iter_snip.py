"""Iterative SNIP: the SNIP score, computed again in each iteration (de Jorge et al. 2021, 'Iterative SNIP')."""

from dataclasses import dataclass

from prune_init.scorers import snip


@dataclass(frozen=True)
class IterSnip(snip.Snip):
    """|w * dL/dw| of the masked net, in 100 iterations along the schedule; a pruned weight never returns.

    Differs from the published SynFlow code, whose iterated SNIP also scores pruned weights, which is FORCE.
    With `schedule="halving"` and 6 iterations it is SNIP-it (Verdenius et al. 2020).
    """

    iterations: int = 100
