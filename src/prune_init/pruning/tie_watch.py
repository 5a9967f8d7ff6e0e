"""Detection of ties: follows the selection in every iteration and finds weights decided by position; see `ties`."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from prune_init.pruning.masks import Tensors, count, fill
from prune_init.pruning.noise import relative_rounding
from prune_init.pruning.scored_net import ScoredNet
from prune_init.pruning.selection import Choice
from prune_init.pruning.ties import Ties, cause

NOISE = 0.1
"""Scores are noise if a change of all weights by a few units of rounding changes them by this fraction (median)."""


@dataclass
class _Cut:
    """The tied weights of one iteration: masks of those kept, in the model's shapes, and counts of those removed."""

    iteration: int
    score: float
    kept: Tensors
    removed: dict[str, int]


class TieWatch:
    """Records the first tie, which may influence all later iterations, and the last one.

    Args:
        net: the net that is scored.
        whole: converts scored tensors, which may be vectors of the remaining weights, to the model's shapes.
    """

    def __init__(self, net: ScoredNet, whole: Callable[[Tensors], Tensors]) -> None:
        self._net, self._whole = net, whole
        self._cuts: list[_Cut] = []
        self._noise: dict[str, float] = {}
        self._unscored: dict[str, str] = {}

    def look(self, iteration: int, scores: Tensors, before: Tensors, choice: Choice, *, by_layer: bool) -> None:
        """Record the weights tied at the threshold; `before` are the masks before this choice, not yet updated."""
        if iteration == 1:
            self._noise = relative_rounding(self._net, scores)
            kinds = {n: self._kind(n, s if before[n].all() else s[before[n]]) for n, s in scores.items()}
            self._unscored = {name: kind for name, kind in kinds.items() if kind is not None}
        if not (by_layer or self._close(choice)):
            return
        kept: Tensors = {}
        removed: Tensors = {}
        for group in [[name] for name in scores] if by_layer else [list(scores)]:
            stays, goes = self._tied(group, scores, before, choice.pruned)
            kept, removed = kept | stays, removed | goes
        if any(mask.any() for mask in removed.values()):
            score = next(float(scores[name][mask][0]) for name, mask in kept.items() if mask.any())
            counts = {name: int(mask.sum()) for name, mask in removed.items()}
            self._cuts = [*self._cuts[:1], _Cut(iteration, score, self._whole(kept), counts)]

    def outcome(self, masks: Tensors) -> Ties:
        """To what extent position decided on `masks`, the final ones."""
        unscored = tuple(n for n, kind in self._unscored.items() if kind != "equal" and not masks[n].any())
        found = [_survivors(cut, masks) for cut in self._cuts]
        worst = replace(max(found, key=lambda ties: ties.share, default=Ties()), unscored=unscored)
        if not (worst.kept or unscored):
            return worst
        kinds = {self._unscored.get(name, "") for name in (*worst.layers, *unscored)}
        if worst.kept and worst.score == 0:
            kinds.add("zero")
        return replace(worst, cause=cause(self._net.model, kinds, by_gradient=self._net.passes.last is not None))

    def _close(self, choice: Choice) -> bool:
        scale = max(abs(choice.lowest_kept), abs(choice.highest_removed))
        return choice.lowest_kept - choice.highest_removed <= max(self._noise.values()) * scale < math.inf

    def _kind(self, name: str, scores: Tensor) -> str | None:
        """Why the scores of a layer do not tell its weights apart: "zero", "noise" or "equal"; None if they do."""
        if scores.numel() < 2:
            return None
        low, high = (float(end) for end in scores.aminmax())
        if low == high == 0:
            return "zero"
        if self._noise[name] >= NOISE:
            return "noise"
        return "equal" if high - low <= self._noise[name] * max(abs(low), abs(high)) else None

    def _tied(self, names: Sequence[str], scores: Tensors, before: Tensors, pruned: Tensors) -> tuple[Tensors, Tensors]:
        """Masks of the tied weights, kept and removed, in layers that were ranked together; empty without a tie."""
        goes = {name: torch.zeros_like(before[name]) for name in names}
        for name in names:
            fill(goes[name], pruned[name], True)
        stays = {name: before[name] & ~goes[name] for name in names}
        lows = [(float(scores[name][mask].min()), name) for name, mask in stays.items() if mask.any()]
        highs = [(float(scores[name][mask].max()), name) for name, mask in goes.items() if mask.any()]
        if not lows or not highs:
            return {}, {}
        (lowest, one), (highest, other) = min(lows), max(highs)
        slack = max(self._noise[one] * abs(lowest), self._noise[other] * abs(highest))
        if lowest - highest > slack:
            return {}, {}
        for name in names:
            own = slack + self._noise[name] * scores[name].abs()
            stays[name] &= (scores[name] - highest).abs() <= own
            goes[name] &= (scores[name] - lowest).abs() <= own
        return stays, goes


def _survivors(cut: _Cut, masks: Tensors) -> Ties:
    """The tie described by the weights that it kept and that are still there in the final masks."""
    kept = {name: int((mask & masks[name]).sum()) for name, mask in cut.kept.items()}
    total, removed = sum(kept.values()), sum(cut.removed.values())
    if not total:
        return Ties()
    layers = {name: kept[name] + cut.removed[name] for name in kept if kept[name] + cut.removed[name]}
    share = total / count(masks)
    return Ties(share, total, removed, cut.iteration, cut.score, layers)
