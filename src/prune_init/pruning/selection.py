"""The k-th largest of many scores, without sorting or copying them.

A sample brackets the answer, one pass counts what lies above the bracket and collects what lies inside, and the
exact choice is made among those few. The passes go through the scores piece by piece: on a CPU a piece and what is
computed of it stay in the cache, where whole-tensor operations would spend their time on fresh pages of memory.
"""

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

PIECE = 1 << 17  # elements: a megabyte of float64
STRIDE = 1009  # of the sample; a prime, so that no layer's shape divides it
SMALL = 1 << 16  # candidates that are sorted out at once


def kth_largest(scores: Mapping[str, Tensor], candidates: Mapping[str, Tensor], k: int) -> Tensor | float | None:
    """The k-th largest score among `candidates` (booleans of the same shapes) over all tensors, k from 0.

    Returns:
        The score; infinity for k = 0; None where no more than k candidates exist.
    """
    total = sum(int(torch.count_nonzero(mask)) for mask in candidates.values())
    if k >= total:
        return None
    if k == 0:
        return math.inf
    low, high = _bracket(scores, candidates, k / total) if total > SMALL else (-math.inf, math.inf)
    above, inside = _split(scores, candidates, low, high)
    if not above < k <= above + len(inside):  # the sample was unlucky
        above, inside = _split(scores, candidates, -math.inf, math.inf)
    return inside.kthvalue(len(inside) - (k - above) + 1).values


def _bracket(scores: Mapping[str, Tensor], candidates: Mapping[str, Tensor], fraction: float) -> tuple[Tensor, Tensor]:
    """Scores that have the k-th largest between them, as far as a sample can tell: six standard deviations."""
    sample = torch.cat(
        [score.flatten()[::STRIDE][candidates[name].flatten()[::STRIDE]] for name, score in scores.items()]
    )
    ordered = sample.sort(descending=True).values
    place, slack = fraction * len(ordered), 6 * math.sqrt(fraction * (1 - fraction) * len(ordered)) + 2
    first, last = (min(max(round(p), 0), len(ordered) - 1) for p in (place - slack, place + slack))
    return ordered[last], ordered[first]


def _split(
    scores: Mapping[str, Tensor], candidates: Mapping[str, Tensor], low: Tensor | float, high: Tensor | float
) -> tuple[int, Tensor]:
    """How many candidates lie above `high`, and the scores of those from `low` to `high`."""
    above, inside = [], []
    for score, mask in _pieces(scores, candidates):
        over = (score > high).logical_and_(mask)
        above.append(torch.count_nonzero(over))
        inside.append(score[(score >= low).logical_and_(mask).logical_xor_(over)])
    return int(torch.stack(above).sum()), torch.cat(inside)


def _pieces(scores: Mapping[str, Tensor], candidates: Mapping[str, Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    for name, score in scores.items():
        size = PIECE if score.device.type == "cpu" else max(1, score.numel())
        yield from zip(score.flatten().split(size), candidates[name].flatten().split(size), strict=True)
