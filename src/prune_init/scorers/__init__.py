"""Scorers: one per file, named like its YAML; the weights with the largest scores are kept.

A scorer is any callable from a `ScoredNet` to a dictionary with one score tensor per prunable weight. Attributes state
its published protocol where it differs from one evaluation-mode pass: `iterations`, `mode` ("train" or "eval"),
`dtype`, `examples_per_class` (absent: no data needed), `revives` (pruned weights may return), `uses_density` (scores
depend on how many weights will be kept), `per_batch` (scores depend on how the sample is split into batches) and
`shrinks` (the score is a formula of each weight and its gradient alone: in eval mode, weights, masks, gradients and
scores may then be vectors of the remaining weights, and nothing else is computed).

`prune_init.check_scorer(scorer)` checks that a scorer keeps the contract.

`prune_init.scorers()` lists the names; for this the package itself is made callable.
"""

import sys
from collections.abc import Callable
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import Any

from prune_init.errors import InputError, one_of


def names() -> tuple[str, ...]:
    """The names of all scorers, sorted."""
    return tuple(sorted(module.name for module in iter_modules(__path__)))


def named(name: str, **options: Any) -> Callable[..., Any]:
    """The scorer of this name, with its published defaults except for `options`.

    Raises:
        InputError: there is no such scorer.
    """
    if name not in names():
        raise InputError("scorer", name, one_of(name, names()))
    module = import_module(f"{__name__}.{name}")
    (scorer,) = (c for c in vars(module).values() if isinstance(c, type) and c.__module__ == module.__name__)
    return scorer(**options)


class _Scorers(ModuleType):
    def __call__(self) -> tuple[str, ...]:
        return names()


sys.modules[__name__].__class__ = _Scorers
