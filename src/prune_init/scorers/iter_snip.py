"""Iterative SNIP: the score of SNIP, computed again after each iteration (de Jorge et al. 2021, 'Iterative SNIP')."""

from dataclasses import dataclass

from prune_init.scorers import snip


@dataclass(frozen=True)
class IterSnip(snip.Snip):
    """|w * dL/dw| of the masked net, 100 times along the schedule; a pruned weight never returns.

    Differs from the published SynFlow code, whose iterated SNIP scores pruned weights too: that is FORCE.
    With `schedule="halving"` and 6 iterations it is SNIP-it (Verdenius et al. 2020).
    """

    iterations: int = 100
