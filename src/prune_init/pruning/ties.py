"""Ties: weights that were kept or pruned by their position, because their scores do not tell them apart.

Scores are equal, or differ only by rounding, where no gradient arrives (a head or a norm's weight that starts at 0, a
part under `no_grad`), where the gradient is rounding noise (a norm layer that takes its statistics from a constant
input), or where weights have equal values. The number of kept weights is still exact, but which of the tied weights
are kept is then arbitrary.
"""

import warnings
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import nn

WORTH_SAYING = 0.01
"""A tie causes a warning if it concerns at least this fraction of the kept weights ..."""

PATHS = 4
"""... and more than this many weights per layer: conserved scores are equal along a path, so a few ties are normal."""


@dataclass(frozen=True)
class Ties:
    """To what extent position, rather than scores, decided which weights are kept.

    Attributes:
        share: fraction of the finally kept weights that were tied with pruned ones in `iteration`.
        kept, removed: the number of these kept weights, and of the pruned weights they were tied with.
        iteration: the iteration of the tie, from 1; 0 if position decided nothing.
        score: the score of the tied weights.
        layers: the number of tied weights, kept and removed together, by layer.
        unscored: fully pruned layers whose scores were all 0, or rounding noise, in the first iteration.
        cause: the likely reason and a remedy; empty if there is nothing to explain.
    """

    share: float = 0.0
    kept: int = 0
    removed: int = 0
    iteration: int = 0
    score: float = 0.0
    layers: dict[str, int] = field(default_factory=dict)
    unscored: tuple[str, ...] = ()
    cause: str = ""

    @property
    def matter(self) -> bool:
        """Whether there are more ties than the few that are normal, or layers in `unscored`."""
        few = PATHS * max(1, len(self.layers))
        return bool(self.unscored) or (self.share >= WORTH_SAYING and self.kept + self.removed > few)

    def as_dict(self) -> dict[str, Any]:
        """All attributes as plain values, and the warning as `told`, which is empty if the ties do not matter."""
        return {**asdict(self), "unscored": list(self.unscored), "told": str(self) if self.matter else ""}

    def __str__(self) -> str:
        """One sentence that says what position decided, where and why, and what to do about it."""
        parts = []
        if self.kept:
            layers = _listed(sorted(self.layers, key=lambda name: -self.layers[name]))
            parts.append(
                f"for {self.share:.1%} of the kept weights, position decided rather than the score: "
                f"{self.kept + self.removed:,} weights had the same score within rounding, in {layers}"
            )
        if self.unscored:
            why = "because their scores do not tell them apart"
            parts.append(f"all weights of {_listed(self.unscored)} are pruned, {why}")
        return f"{'; '.join(parts)} ({self.cause})" if parts else "none"


def cause(model: nn.Module, kinds: set[str], *, by_gradient: bool) -> str:
    """Why scores are equal and what to do about it, given the `kinds` observed: "zero", "noise", "equal"."""
    if not by_gradient:
        return (
            "their scores are equal, and so are their initial values: initialise the weights randomly, or choose "
            "another scorer"
        )
    zeros = [
        name
        for name, p in model.named_parameters()
        if p.numel() > 1 and "bias" not in name.split(".")[-1] and not p.any()
    ]
    if "noise" in kinds:
        return (
            "their scores are rounding noise, as behind a norm layer that takes its statistics from a constant input: "
            "use a scorer with data, or another mode"
        )
    if "zero" in kinds and zeros:
        return (
            f"their scores are 0, because gradients stop where initial values are all 0, in {_listed(zeros)}: choose "
            "other initial values before pruning (timm: zero_init_last=False), or a scorer without gradients"
        )
    if "zero" in kinds:
        return (
            "their scores are 0: no gradient reaches them; look for no_grad, detach, dead, saturated or unused parts, "
            "or leave layers out with exclude="
        )
    return "their scores are equal: initialise the weights randomly, score in float64, or choose another scorer"


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def warn(ties: Ties) -> None:
    """Warn of ties that matter."""
    if ties.matter:
        warnings.warn(str(ties), stacklevel=3)
