"""Prune until the effective sparsity meets the target (Vysogorets and Kempe 2023, 'effective correction')."""

import copy
from functools import partial
from typing import Any

from torch import nn

from prune_init.errors import InputError
from prune_init.pruning.result import PruneResult


def to_effective_sparsity(prune: "partial[PruneResult]", model: nn.Module, **options: Any) -> PruneResult:
    """Mask `model` so that its effective sparsity reaches the target: exactly, or with the fewest direct removals.

    Removing weights disconnects others, which are then as good as removed: the nominal sparsity has to be lower. It
    is found by bisection on copies, over the number of weights kept, which ends early where the target is met
    exactly. Effective sparsity need not rise with every weight of every iterative scorer; what is returned is the
    last candidate that reached the target.

    Args:
        prune: `prune_init.prune` with at least `sparsity`, the target, and what the scorer needs.
        model: masked in place.
        options: passed on, with `data` a repeatable iterable.

    Raises:
        InputError: paths cannot be followed in this model.
    """
    target = prune.keywords["sparsity"]
    best = _on_a_copy(prune, model, target, **options)
    if best.effective_sparsity is None:
        raise InputError("target", "effective", "paths of this model cannot be followed; allowed here: nominal")
    total = sum(layer.size for layer in best.layers)
    least, most = round((1 - target) * total), total  # weights kept: `least` reaches the target, `most` may not
    nominal = target
    while most - least > 1 and best.effective_sparsity != target:
        middle = (least + most) // 2
        candidate = _on_a_copy(prune, model, 1 - middle / total, **options)
        assert candidate.effective_sparsity is not None
        if candidate.effective_sparsity >= target:
            least, nominal, best = middle, 1 - middle / total, candidate
        else:
            most = middle
    return prune(model, sparsity=nominal, **options)


def _on_a_copy(prune: "partial[PruneResult]", model: nn.Module, sparsity: float, **options: Any) -> PruneResult:
    return prune(copy.deepcopy(model), sparsity=sparsity, **options)
