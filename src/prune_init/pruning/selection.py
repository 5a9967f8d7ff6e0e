"""Selection of the weights with the lowest scores: on a CPU without sorting or copying all scores, else by one sort.

On a CPU, a sample of the scores gives a bracket for the threshold between pruned and kept weights. One pass over the
scores collects those at or below the bracket's upper end, few because one iteration prunes few weights, and an exact
selection among those inside the bracket finds the threshold. The pass works piece by piece, so that each piece and
its intermediate results stay in the cache; whole-tensor operations would spend their time on fresh memory pages.
"""

import math
from collections.abc import Mapping
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from prune_init.pruning.masks import PIECE, indices_of

STRIDE = 499  # step of the sample; a prime that does not divide the sizes of usual layers
SMALL = 1 << 16  # up to this many candidates, the exact selection is made among all of them, without a sample


class Choice(NamedTuple):
    """The result of a selection.

    Attributes:
        pruned: for each tensor, the candidates to prune, in a form that `masks.fill` takes: on a CPU, or if there are
            none, ascending flat int64 indices; otherwise a mask, since finding indices would make the host wait.
        lowest_kept, highest_removed: the scores next to the threshold; infinite where no weight is on that side.
    """

    pruned: dict[str, Tensor]
    lowest_kept: float = math.inf
    highest_removed: float = -math.inf


def lowest(scores: Mapping[str, Tensor], candidates: Mapping[str, Tensor], keep: int, total: int) -> Choice:
    """Choose the weights to prune so that exactly the `keep` candidates with the highest scores are kept.

    Among equal scores the earlier weight is kept, in the order of the dictionary and then of the flat index.

    Args:
        scores: the score of each weight; tensors of any shapes on one device.
        candidates: boolean tensors of the same shapes; only weights that are True here are kept or pruned.
        keep: the number of weights to keep over all tensors; if there are fewer candidates, all are kept.
        total: the number of candidates.
    """
    if keep >= total:
        return Choice({n: torch.empty(0, dtype=torch.int64, device=score.device) for n, score in scores.items()})
    if next(iter(scores.values())).device.type != "cpu":
        return _by_sorting(scores, candidates, total - keep)
    low, high = _bracket(scores, candidates, keep / total) if total > SMALL else (-math.inf, math.inf)
    found, values = _not_above(scores, candidates, high)
    inside = indices_of(values >= low)
    go = total - keep - (len(values) - len(inside))
    if not 0 < go < len(inside):  # the bracket misses the threshold, or all candidates are to be pruned
        found, values = _not_above(scores, candidates, math.inf)
        inside, go = torch.arange(len(values)), total - keep
    near = values.index_select(0, inside)
    smallest = _smallest(near, go)
    goes = torch.ones_like(values, dtype=torch.bool).index_copy_(0, inside, smallest)
    kept, removed = near[~smallest], near[smallest]
    pruned = _by_name(found.index_select(0, indices_of(goes)), scores)
    return Choice(pruned, float(kept.min()) if len(kept) else math.inf, float(removed.max()))


def _by_sorting(scores: Mapping[str, Tensor], candidates: Mapping[str, Tensor], count: int) -> Choice:
    """Choose the `count` lowest by one sort of all scores, on a GPU faster than `kthvalue`, with one host wait."""
    flat, live = (torch.cat([t.flatten() for t in tensors.values()]) for tensors in (scores, candidates))
    flat.masked_fill_(~live, math.inf if flat.dtype.is_floating_point else torch.iinfo(flat.dtype).max)
    ordered, order = flat.flip(0).sort(stable=True)  # flipped: among equal scores the later weight comes first
    goes = torch.zeros_like(live).index_fill_(0, flat.numel() - 1 - order[:count], True)
    parts = goes.split([score.numel() for score in scores.values()])
    removed, *kept = ordered[count - 1 : count + 1].tolist()
    pruned = {name: part.view_as(score) for (name, score), part in zip(scores.items(), parts, strict=True)}
    return Choice(pruned, kept[0] if kept else math.inf, removed)


def _smallest(values: Tensor, count: int) -> Tensor:
    """The mask of the `count` smallest values; among equal values the later ones are taken first."""
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
    """The indices and scores of the candidates with scores of at most `high`; indices run on from tensor to tensor."""
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
    """Convert ascending indices that run on over all tensors into flat indices within each tensor."""
    ends = list(accumulate((score.numel() for score in scores.values()), initial=0))
    cuts = torch.searchsorted(indices, torch.tensor(ends)).tolist()
    return {name: indices[cuts[k] : cuts[k + 1]] - ends[k] for k, name in enumerate(scores)}


def _bracket(
    scores: Mapping[str, Tensor], candidates: Mapping[str, Tensor], fraction: float
) -> tuple[Tensor | float, Tensor | float]:
    """Bounds of the k-th largest score: its estimate from a sample, minus and plus four standard deviations."""
    sample = torch.cat(
        [score.flatten()[::STRIDE][candidates[name].flatten()[::STRIDE]] for name, score in scores.items()]
    )
    if len(sample) == 0:
        return -math.inf, math.inf
    ordered = sample.sort(descending=True).values
    place, slack = fraction * len(ordered), 4 * math.sqrt(fraction * (1 - fraction) * len(ordered)) + 2
    first, last = (min(max(round(p), 0), len(ordered) - 1) for p in (place - slack, place + slack))
    return ordered[last], ordered[first]
