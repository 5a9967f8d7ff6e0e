"""The k largest of many scores, without sorting or copying them.

A sample brackets the k-th largest, one pass notes what lies above the bracket and collects what lies inside, and the
exact choice is made among those few. The pass goes through the scores piece by piece: on a CPU a piece and what is
computed of it stay in the cache, where whole-tensor operations would spend their time on fresh pages of memory.
"""

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from prune_init.pruning.live import PIECE, places_of

STRIDE = 499  # of the sample; a prime, so that no layer's shape divides it
SMALL = 1 << 16  # candidates that are sorted out at once


def keep_top(scores: Mapping[str, Tensor], candidates: Mapping[str, Tensor], keep: int) -> dict[str, Tensor]:
    """The masks that keep the `keep` highest scores among `candidates`, exactly.

    Among equal scores the earlier weight stays: order of the dictionary, then flat index.

    Args:
        scores: score of each weight, any shapes, one device.
        candidates: boolean tensors of the same shapes; weights outside are never kept.
        keep: how many weights to keep over all tensors.

    Returns:
        Boolean tensors of the same shapes with `keep` entries True (all candidates, where there are fewer).
    """
    total = sum(int(torch.count_nonzero(mask)) for mask in candidates.values())
    if keep >= total:
        return {name: mask.clone() for name, mask in candidates.items()}
    low, high = _bracket(scores, candidates, keep / total) if total > SMALL else (-math.inf, math.inf)
    split = _split(scores, candidates, low, high)
    if not split.above <= keep <= split.above + len(split.inside):  # the sample was unlucky
        split = _split(scores, candidates, -math.inf, math.inf)
    _choose(split, keep - split.above)
    return {name: kept.view(scores[name].shape) for name, kept in split.kept.items()}


class _Split(NamedTuple):
    kept: dict[str, Tensor]  # flat masks of the candidates above the bracket
    above: int  # how many these are
    inside: Tensor  # scores of the candidates inside the bracket, in order
    pieces: list[tuple[Tensor, Tensor]]  # for each piece of `kept`, the places of those inside


def _choose(split: _Split, more: int) -> None:
    """Add the best `more` of those inside to the masks, the earlier of equal ones first."""
    if more == 0:
        return
    cut = split.inside.kthvalue(len(split.inside) - more + 1).values
    chosen = split.inside > cut
    equal = places_of(split.inside == cut)[: more - int(torch.count_nonzero(chosen))]
    chosen[equal] = True
    sizes = [len(places) for _, places in split.pieces]
    for (kept, places), part in zip(split.pieces, chosen.split(sizes), strict=True):
        kept.index_copy_(0, places, part)


def _bracket(
    scores: Mapping[str, Tensor], candidates: Mapping[str, Tensor], fraction: float
) -> tuple[Tensor | float, Tensor | float]:
    """Scores that have the k-th largest between them, as far as a sample can tell: four standard deviations."""
    sample = torch.cat(
        [score.flatten()[::STRIDE][candidates[name].flatten()[::STRIDE]] for name, score in scores.items()]
    )
    if len(sample) == 0:
        return -math.inf, math.inf
    ordered = sample.sort(descending=True).values
    place, slack = fraction * len(ordered), 4 * math.sqrt(fraction * (1 - fraction) * len(ordered)) + 2
    first, last = (min(max(round(p), 0), len(ordered) - 1) for p in (place - slack, place + slack))
    return ordered[last], ordered[first]


def _split(
    scores: Mapping[str, Tensor], candidates: Mapping[str, Tensor], low: Tensor | float, high: Tensor | float
) -> _Split:
    kept = {name: torch.empty(score.numel(), dtype=torch.bool, device=score.device) for name, score in scores.items()}
    above, inside, pieces = [], [], []
    for score, mask, over in _pieces(scores, candidates, kept):
        torch.gt(score, high, out=over).logical_and_(mask)
        above.append(torch.count_nonzero(over))
        places = places_of((score >= low).logical_and_(mask).logical_xor_(over))
        inside.append(score.index_select(0, places))
        pieces.append((over, places))
    return _Split(kept, int(torch.stack(above).sum()), torch.cat(inside), pieces)


def _pieces(*tensors: Mapping[str, Tensor]) -> Iterator[tuple[Tensor, ...]]:
    for name, first in tensors[0].items():
        size = PIECE if first.device.type == "cpu" else max(1, first.numel())
        yield from zip(*(of[name].flatten().split(size) for of in tensors), strict=True)
