"""The lowest of many scores: on a CPU without sorting or copying them, on other devices by one sort.

On a CPU a sample brackets the highest of these, one pass collects what does not lie above the bracket, and the exact
choice is made among those inside. One pruning iteration removes few weights, so these are few. The pass
goes through the scores piece by piece: a piece and what is computed of it stay in the cache, where whole-tensor
operations would spend their time on fresh pages of memory.
"""

import math
from collections.abc import Mapping
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from prune_init.pruning.masks import PIECE, indices_of

STRIDE = 499  # of the sample; a prime, so that no layer's shape divides it
SMALL = 1 << 16  # candidates that are sorted out at once


class Choice(NamedTuple):
    """What was chosen.

    Attributes:
        pruned: for each tensor the candidates to prune, as `masks.fill` takes them: on a CPU their flat indices, int64,
            ascending; on another device, where finding indices would make the host wait, a mask.
        lowest_kept, highest_removed: the scores at the cut; infinite where nothing is on that side.
    """

    pruned: dict[str, Tensor]
    lowest_kept: float = math.inf
    highest_removed: float = -math.inf


def lowest(scores: Mapping[str, Tensor], candidates: Mapping[str, Tensor], keep: int, total: int) -> Choice:
    """Which weights to prune so that exactly `keep` of the candidates are kept, those with the highest scores.

    Among equal scores the earlier weight is kept: order of the dictionary, then flat index.

    Args:
        scores: score of each weight, any shapes, one device.
        candidates: boolean tensors of the same shapes; others do not count.
        keep: how many weights to keep over all tensors; all candidates, where there are fewer.
        total: how many candidates there are.
    """
    if keep >= total:
        return Choice({n: torch.empty(0, dtype=torch.int64, device=score.device) for n, score in scores.items()})
    if next(iter(scores.values())).device.type != "cpu":
        return _by_sorting(scores, candidates, total - keep)
    low, high = _bracket(scores, candidates, keep / total) if total > SMALL else (-math.inf, math.inf)
    found, values = _not_above(scores, candidates, high)
    inside = indices_of(values >= low)
    go = total - keep - (len(values) - len(inside))
    if not 0 < go < len(inside):  # the sample was unlucky, or all candidates go
        found, values = _not_above(scores, candidates, math.inf)
        inside, go = torch.arange(len(values)), total - keep
    near = values.index_select(0, inside)
    smallest = _smallest(near, go)
    goes = torch.ones_like(values, dtype=torch.bool).index_copy_(0, inside, smallest)
    kept, removed = near[~smallest], near[smallest]
    pruned = _by_name(found.index_select(0, indices_of(goes)), scores)
    return Choice(pruned, float(kept.min()) if len(kept) else math.inf, float(removed.max()))


def _by_sorting(scores: Mapping[str, Tensor], candidates: Mapping[str, Tensor], count: int) -> Choice:
    """The `count` lowest in one sort of all, which a GPU does faster than `kthvalue`, and with one wait of the host."""
    flat, live = (torch.cat([t.flatten() for t in tensors.values()]) for tensors in (scores, candidates))
    flat.masked_fill_(~live, _most(flat.dtype))
    ordered, order = flat.flip(0).sort(stable=True)  # of equal scores the later weight comes first
    goes = torch.zeros_like(live).index_fill_(0, flat.numel() - 1 - order[:count], True)
    parts = goes.split([score.numel() for score in scores.values()])
    removed, *kept = ordered[count - 1 : count + 1].tolist()
    pruned = {name: part.view_as(score) for (name, score), part in zip(scores.items(), parts, strict=True)}
    return Choice(pruned, kept[0] if kept else math.inf, removed)


def _most(dtype: torch.dtype) -> float:
    return math.inf if dtype.is_floating_point else torch.iinfo(dtype).max


def _smallest(values: Tensor, count: int) -> Tensor:
    """The mask of the `count` smallest values, the later of equal ones first."""
    if count == 0:
        return torch.zeros_like(values, dtype=torch.bool)
    cut = values.kthvalue(count).values
    chosen = values < cut
    equal = indices_of(values == cut)
    chosen[equal[len(equal) - (count - int(torch.count_nonzero(chosen))) :]] = True
    return chosen


def _not_above(
    scores: Mapping[str, Tensor], candidates: Mapping[str, Tensor], high: Tensor | float
) -> tuple[Tensor, Tensor]:
    """The candidates whose scores are at most `high`: their indices, counted on over all tensors, and their scores."""
    indices, values, before = [], [], 0
    for name, score in scores.items():
        pieces = zip(score.flatten().split(PIECE), candidates[name].flatten().split(PIECE), strict=True)
        for piece, mask in pieces:
            found = indices_of((piece <= high).logical_and_(mask))
            values.append(piece.index_select(0, found))
            indices.append(found.add_(before))
            before += len(piece)
    return torch.cat(indices), torch.cat(values)


def _by_name(indices: Tensor, scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Ascending indices over all tensors as indices in each of them."""
    ends = list(accumulate((score.numel() for score in scores.values()), initial=0))
    cuts = torch.searchsorted(indices, torch.tensor(ends)).tolist()
    return {name: indices[cuts[k] : cuts[k + 1]] - ends[k] for k, name in enumerate(scores)}


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
