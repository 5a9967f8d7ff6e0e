"""Find the compression at which a scorer leaves no path from input to output."""

import math
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from prune_init.errors import InputError, ModelError
from prune_init.loop import prune
from prune_init.pruning.checks import shape_of
from prune_init.pruning.copies import copied
from prune_init.pruning.masks import Tensors
from prune_init.pruning.scored_net import ScoredNet
from prune_init.pruning.weights import prunable
from prune_init.pruning.wrapped import Wrapped
from prune_init.scorers import named


@dataclass(frozen=True)
class CriticalCompression:
    """The largest compression at which a path is left, `critical`, and the `maximal` one, N / layers for N weights.

    `kept` is the number of weights at `critical`, found to within a factor of `resolution`. `critical` can exceed
    `maximal` in nets with skip connections, whose layers need not all be on a path.
    """

    critical: float
    maximal: float
    kept: int

    @property
    def exponent(self) -> float:
        """log10 of `critical`, the x axis of the published figures."""
        return math.log10(self.critical)

    @property
    def maximal_exponent(self) -> float:
        """log10 of `maximal`."""
        return math.log10(self.maximal)


def critical_compression(
    model: nn.Module, scorer: str | Callable[..., Any] = "synflow", *, resolution: float = 1.02, **options: Any
) -> CriticalCompression:
    """The largest compression before layer collapse (Tanaka et al. 2020, section 3), by bisection on copies.

    A net has collapsed when no path leads from input to output. The number of weights kept is bisected on a log
    scale, between one weight per layer (the maximal compression) and all. The maximal compression is tried first:
    scorers that satisfy theorem 3 reach it, and the search then goes on below one weight per layer.

    Args:
        model: the net; it is not changed.
        scorer: as in `prune_init.prune`.
        resolution: stop when the bounds on the number of weights kept differ by at most this factor, or by one weight.
        options: as in `prune_init.prune`.

    Raises:
        InputError: an argument is invalid, the net is not connected before pruning, or its paths cannot be followed.
    """
    weights = prunable(model, include=options.get("include"), exclude=options.get("exclude"))
    total, layers = sum(w.numel() for w in weights.values()), len(weights)
    if isinstance(resolution, bool) or not isinstance(resolution, (int, float)) or not resolution >= 1:
        raise InputError("resolution", resolution, "allowed: a factor from 1")
    if "data" in options and isinstance(options["data"], Iterable):
        options["data"] = list(options["data"])  # every trial iterates over it
    scorer = _scored_once(scorer, options)
    left: dict[int, int] = {}  # what each trial kept: with counts="published" not exactly what it should

    def connected(keep: int) -> bool:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*some layers must be empty")
            found = prune(copied(model), scorer, 1 - keep / total, **options)
        left[keep] = sum(layer.kept for layer in found.layers)
        if found.connected is None:
            known = shape_of(options.get("input_shape"), model) is not None
            why = "its paths cannot be followed" if known else "paths need the input_shape=(C, H, W) of one example"
            raise ModelError(model, why)
        return found.connected

    low, high = (0, layers) if connected(layers) else (layers, total)
    if high == total and not connected(total):
        raise ModelError(model, "is not connected even without pruning")
    while high - low > 1 and high > resolution * low:
        middle = round(math.sqrt(low * high)) if low > 0 else high // 2
        middle = min(max(middle, low + 1), high - 1)
        low, high = (low, middle) if connected(middle) else (middle, high)
    return CriticalCompression(critical=total / left[high], maximal=total / layers, kept=left[high])


def _scored_once(scorer: str | Callable[..., Any], options: dict[str, Any]) -> Callable[..., Any]:
    """A scorer that remembers its scores, if it is one-shot: the dense net's scores are the same for every sparsity."""
    made = named(scorer) if isinstance(scorer, str) else scorer
    if isinstance(made, type) or not callable(made):
        return made  # which `prune` refuses
    repeated = (options.get("iterations") or getattr(made, "iterations", 1)) != 1
    return made if repeated or getattr(made, "uses_density", False) else _Remembered(made)


@dataclass(frozen=True)
class _Remembered(Wrapped):
    scores: Tensors = field(default_factory=dict, repr=False)

    def __call__(self, net: ScoredNet) -> Tensors:
        if not self.scores:
            self.scores.update(self.scorer(net))
        return self.scores
