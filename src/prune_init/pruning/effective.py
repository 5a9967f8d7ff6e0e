"""Prune until the effective sparsity meets the target (Vysogorets and Kempe 2023, 'effective correction')."""

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from torch import nn

from prune_init.errors import InputError
from prune_init.pruning.cost import Cost
from prune_init.pruning.result import PruneResult


def to_effective_sparsity(prune: "partial[PruneResult]", model: nn.Module, **options: Any) -> PruneResult:
    """Mask `model` so that its effective sparsity is the target, or as near to it as the scorer can come.

    Removing weights disconnects others, which are then as good as removed: the nominal sparsity has to be lower. It
    is found by bisection on copies, over the number of weights kept, which ends early where the target is met
    exactly. Effective sparsity can jump over the target where one weight carries many paths; of the two sides the
    nearer one is taken, and one that collapses only if there is no other.

    Args:
        prune: `prune_init.prune` with at least `sparsity`, the target, and what the scorer needs.
        model: masked in place.
        options: passed on, with `data` a repeatable iterable.

    Raises:
        InputError: paths cannot be followed in this model.
    """
    target, pruned = prune.keywords["sparsity"], _repeatable(prune)
    least, most = _try(pruned, model, target, **options), _try(pruned, model, 0.0, **options)
    search = least.cost + most.cost
    while most.kept - least.kept > 1 and least.effective != target:
        middle = _try(pruned, model, 1 - (least.kept + most.kept) // 2 / most.size, **options)
        search += middle.cost
        least, most = (middle, most) if middle.effective >= target else (least, middle)
    nearest = min((least, most), key=lambda t: (t.effective == 1, abs(t.effective - target)))
    result = pruned(model, sparsity=nearest.sparsity, **options)
    return replace(result, cost=search + result.cost)  # the search is part of the bill


def _repeatable(prune: "partial[PruneResult]") -> Callable[..., PruneResult]:
    """With the same randomness at every call: what a trial found is what comes out in the end."""
    generator = prune.keywords.get("generator")
    if generator is None:
        return prune  # each call seeds its own
    state = generator.get_state()

    def call(model: nn.Module, **options: Any) -> PruneResult:
        generator.set_state(state)
        return prune(model, **options)

    return call


class _Trial(NamedTuple):
    sparsity: float
    effective: float
    kept: int
    size: int
    cost: Cost


def _try(prune: Callable[..., PruneResult], model: nn.Module, sparsity: float, **options: Any) -> _Trial:
    result = prune(copy.deepcopy(model), sparsity=sparsity, **options)
    if result.effective_sparsity is None:
        raise InputError("target", "effective", "paths of this model cannot be followed; allowed here: nominal")
    kept, size = (sum(getattr(layer, count) for layer in result.layers) for count in ("kept", "size"))
    return _Trial(sparsity, result.effective_sparsity, kept, size, result.cost)
