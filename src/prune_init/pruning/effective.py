"""Pruning to a target effective sparsity (Vysogorets and Kempe 2023, 'effective correction')."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import cached_property, partial
from typing import Any, NamedTuple

from torch import nn

from prune_init.errors import InputError
from prune_init.pruning.copies import copied
from prune_init.pruning.cost import Cost
from prune_init.pruning.result import PruneResult
from prune_init.pruning.sample import Batch


def to_effective_sparsity(prune: "partial[PruneResult]", model: nn.Module, **options: Any) -> PruneResult:
    """Mask `model` so that its effective sparsity is the target, or as near to it as the scorer can come.

    Removing weights disconnects others, which then have no effect, so the nominal sparsity must be lower than the
    target. It is found by bisection over the number of weights kept, on copies of the model, which ends early if the
    target is met exactly. Effective sparsity can jump over the target where one weight carries many paths; then the
    nearer side is taken, but a collapsed net only if the other side has collapsed too.

    Args:
        prune: a partial of `prune_init.prune` with at least `sparsity`, the target, and what the scorer needs.
        model: masked in place.
        options: passed on to `prune`; `data` is read once at most, and all trials score the same batches.

    Raises:
        InputError: paths cannot be followed in this model.
    """
    target, pruned = prune.keywords["sparsity"], _repeatable(prune)
    data = options.get("data", prune.keywords.get("data"))
    if isinstance(data, Iterable):
        options["data"] = _ReadOnce(data)
    least, most = _try(pruned, model, target, **options), _try(pruned, model, 0.0, **options)
    search = least.cost + most.cost
    while most.kept - least.kept > 1 and least.effective != target:
        middle = _try(pruned, model, 1 - (least.kept + most.kept) // 2 / most.size, **options)
        search += middle.cost
        least, most = (middle, most) if middle.effective >= target else (least, middle)
    nearest = min((least, most), key=lambda t: (t.effective == 1, abs(t.effective - target)))
    result = pruned(model, sparsity=nearest.sparsity, **options)
    return replace(result, cost=search + result.cost)


def _repeatable(prune: "partial[PruneResult]") -> Callable[..., PruneResult]:
    """`prune` with the same random numbers at every call, so that the final pruning repeats the chosen trial."""
    generator = prune.keywords.get("generator")
    if generator is None:
        return prune  # each call seeds its own generator
    state = generator.get_state()

    def call(model: nn.Module, **options: Any) -> PruneResult:
        generator.set_state(state)
        return prune(model, **options)

    return call


class _ReadOnce:
    """Batches that are read when a trial first asks for them, and kept: an iterator has no more for the next trial."""

    def __init__(self, data: Iterable[Batch]) -> None:
        self._data = data

    @cached_property
    def _batches(self) -> list[Batch]:
        return list(self._data)

    def __iter__(self) -> Iterator[Batch]:
        return iter(self._batches)


class _Trial(NamedTuple):
    sparsity: float
    effective: float
    kept: int
    size: int
    cost: Cost


def _try(prune: Callable[..., PruneResult], model: nn.Module, sparsity: float, **options: Any) -> _Trial:
    result = prune(copied(model), sparsity=sparsity, **options)
    if result.effective_sparsity is None:
        raise InputError("target", "effective", "paths of this model cannot be followed; use target=nominal")
    kept, size = (sum(getattr(layer, count) for layer in result.layers) for count in ("kept", "size"))
    return _Trial(sparsity, result.effective_sparsity, kept, size, result.cost)
