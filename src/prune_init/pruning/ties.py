"""Weights that were chosen by their position, because their scores do not tell them apart.

Scores are equal, or differ by rounding, where no gradient arrives (a head or a norm's weight that starts at 0, a part
under `no_grad`), where all that arrives is rounding (a norm that takes its statistics from a constant input), or where
weights are alike. The choice is exact all the same; what it means is another question, which is answered here.
"""

import math
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from prune_init.pruning.masks import Tensors, fill
from prune_init.pruning.noise import relative_rounding
from prune_init.pruning.scored_net import ScoredNet
from prune_init.pruning.selection import Choice

NOISE = 0.1
"""From this median relative change on, under a change of all weights by some units of rounding, scores are noise."""

WORTH_SAYING = 0.01
"""The share of the kept weights from which a tie is worth a warning ..."""

PATHS = 4
"""... and how many ties per layer are normal: along a path all conserved scores are equal, so a few paths may tie."""


@dataclass(frozen=True)
class Ties:
    """How far position decided.

    Attributes:
        share: fraction of the weights kept in the end that once were tied with weights that went.
        kept, removed: numbers of these weights, and of those that went.
        iteration: when that was, from 1; 0 if position decided nothing.
        score: that of the tied weights.
        layers: number of tied weights, kept and removed, by layer.
        unscored: layers whose scores were all 0, or rounding noise, from the start and of which nothing is left.
        cause: what the numbers say of the reason; empty if there is nothing to explain.
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
        """Whether they are more than the few that are normal."""
        few = PATHS * max(1, len(self.layers))
        return bool(self.unscored) or (self.share >= WORTH_SAYING and self.kept + self.removed > few)

    def as_dict(self) -> dict[str, Any]:
        """All attributes as plain values, and what is to be said of them: nothing if they do not matter."""
        return {**asdict(self), "unscored": list(self.unscored), "told": str(self) if self.matter else ""}

    def __str__(self) -> str:
        """One sentence: what position decided, where, why, and the way out."""
        told = []
        if self.kept:
            told.append(
                f"position decided on {self.share:.1%} of the weights kept: {self.kept + self.removed:,} had the same "
                f"score within rounding, in {_listed(sorted(self.layers, key=lambda name: -self.layers[name]))}"
            )
        if self.unscored:
            told.append(f"nothing is left of {_listed(self.unscored)}, whose scores say nothing")
        return f"{'; '.join(told)} ({self.cause})" if told else "none"


@dataclass
class _Cut:
    """The tied weights of one iteration, in the shapes of the model's weights."""

    iteration: int
    score: float
    kept: Tensors
    removed: dict[str, int]


class TieWatch:
    """Follows the choices of all iterations: the first tie, which may decide all that follows, and the last one.

    Args:
        net: what is scored.
        whole: makes tensors of the shapes of the model's weights from those that are scored.
    """

    def __init__(self, net: ScoredNet, whole: Callable[[Tensors], Tensors]) -> None:
        self._net, self._whole = net, whole
        self._cuts: list[_Cut] = []
        self._noise: dict[str, float] = {}
        self._unscored: dict[str, str] = {}

    def look(self, iteration: int, scores: Tensors, before: Tensors, choice: Choice, *, by_layer: bool) -> None:
        """Compare the lowest score kept and the highest one removed; to be called while `before` still holds."""
        if iteration == 1:
            self._noise = relative_rounding(self._net, scores)
            kinds = {n: self._kind(n, s if before[n].all() else s[before[n]]) for n, s in scores.items()}
            self._unscored = {name: kind for name, kind in kinds.items() if kind is not None}
        if not (by_layer or self._close(choice)):
            return
        kept = {name: torch.zeros_like(mask) for name, mask in before.items()}
        removed = dict.fromkeys(scores, 0)
        for group in [[name] for name in scores] if by_layer else [list(scores)]:
            self._mark(group, scores, before, choice.pruned, kept, removed)
        if any(removed.values()):
            score = next(float(scores[name][mask][0]) for name, mask in kept.items() if mask.any())
            self._cuts = [*self._cuts[:1], _Cut(iteration, score, self._whole(kept), removed)]

    def outcome(self, masks: Tensors) -> Ties:
        """What is to be said at the end, with these masks."""
        stay = sum(int(mask.sum()) for mask in masks.values())
        unscored = tuple(n for n, kind in self._unscored.items() if kind != "equal" and not masks[n].any())
        found = [_survivors(cut, masks, stay) for cut in self._cuts]
        worst = replace(max(found, key=lambda ties: ties.share, default=Ties()), unscored=unscored)
        if not (worst.kept or unscored):
            return worst
        kinds = {self._unscored.get(name, "") for name in (*worst.layers, *unscored)}
        if worst.kept and worst.score == 0:
            kinds.add("zero")
        return replace(worst, cause=_cause(self._net.model, kinds, by_gradient=self._net.passes.last is not None))

    def _close(self, choice: Choice) -> bool:
        scale = max(abs(choice.lowest_kept), abs(choice.highest_removed))
        eps = max(self._noise.values())
        return choice.lowest_kept - choice.highest_removed <= eps * scale < math.inf

    def _kind(self, name: str, scores: Tensor) -> str | None:
        """How the scores of a layer fail to tell its weights apart, if they do."""
        if scores.numel() < 2:
            return None
        low, high = (float(end) for end in scores.aminmax())
        if low == high == 0:
            return "zero"
        if self._noise[name] >= NOISE:
            return "noise"
        return "equal" if high - low <= self._noise[name] * max(abs(low), abs(high)) else None

    def _mark(
        self,
        names: list[str],
        scores: Tensors,
        before: Tensors,
        pruned: Mapping[str, Tensor],
        kept: Tensors,
        removed: dict[str, int],
    ) -> None:
        """Note the tied weights of layers that were ranked together, kept and removed."""
        goes = {name: torch.zeros_like(before[name]) for name in names}
        for name in names:
            fill(goes[name], pruned[name], True)
        stays = {name: before[name] & ~goes[name] for name in names}
        lows = [(float(scores[name][stays[name]].min()), name) for name in names if stays[name].any()]
        highs = [(float(scores[name][goes[name]].max()), name) for name in names if goes[name].any()]
        if not lows or not highs:
            return
        (lowest, one), (highest, other) = min(lows), max(highs)
        slack = max(self._noise[one] * abs(lowest), self._noise[other] * abs(highest))
        if lowest - highest > slack:
            return
        for name in names:
            own = slack + self._noise[name] * scores[name].abs()
            kept[name] |= stays[name] & ((scores[name] - highest).abs() <= own)
            removed[name] += int((goes[name] & ((scores[name] - lowest).abs() <= own)).sum())


def _survivors(cut: _Cut, masks: Tensors, stay: int) -> Ties:
    """What is left in the end of the tied weights that were kept."""
    kept = {name: int((mask & masks[name]).sum()) for name, mask in cut.kept.items()}
    total, removed = sum(kept.values()), sum(cut.removed.values())
    if not total:
        return Ties()
    layers = {name: kept[name] + cut.removed[name] for name in kept if kept[name] + cut.removed[name]}
    return Ties(total / stay, total, removed, cut.iteration, cut.score, layers)


def _cause(model: nn.Module, kinds: set[str], *, by_gradient: bool) -> str:
    if not by_gradient:
        return "their scores are equal, and so are their initial values: draw these by chance, or choose another scorer"
    zeros = [
        name
        for name, p in model.named_parameters()
        if p.numel() > 1 and "bias" not in name.split(".")[-1] and not p.any()
    ]
    if "noise" in kinds:
        return (
            "their scores are rounding noise, as behind a norm layer that takes its statistics from a constant input: "
            "a scorer that looks at data, or another mode, sees more"
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
    return "their scores are equal: draw initial weights by chance, score in float64, or choose another scorer"


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def warn(ties: Ties) -> None:
    """Say what matters."""
    if ties.matter:
        warnings.warn(str(ties), stacklevel=3)
