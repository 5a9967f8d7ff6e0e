"""Losses for the config group `loss`."""

from prune_init.pruning.loss import cross_entropy

__all__ = ["cross_entropy"]
