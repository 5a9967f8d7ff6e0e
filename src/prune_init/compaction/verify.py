"""Run the masked net and the compact net on the same inputs, and refuse the compact net if their outputs differ."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from math import inf
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from prune_init.compaction import batches
from prune_init.compaction.drawing import Drawing
from prune_init.compaction.graph import shell
from prune_init.errors import InputError, ModelError, first_line
from prune_init.pruning import masks as masking
from prune_init.pruning.chance import forked
from prune_init.pruning.copies import copied
from prune_init.pruning.masks import Tensors
from prune_init.pruning.plain_run import plainly
from prune_init.pruning.structures import difference

CALLS = ((False, 2), (True, 3), (False, 2), (False, 1))
"""Train mode or not, and the number of examples: statistics, counters and fixed batch sizes show from call to call."""

LIMITS = {torch.float64: 1e-4, torch.float32: 1e-2}
"""How far outputs may differ, relative to the largest one: batch norm amplifies rounding."""

ROUNDING = 100
"""The same, relative to the difference that rounding the masked net's parameters makes."""


def verify(whole: nn.Module, small: nn.Module, masks: Tensors, example_input: Tensor, *, exact: bool) -> None:
    """Compare copies of both nets: on random numbers in float64, unless the masked net cannot be run so.

    Args:
        whole: the net that `small` was made from.
        small: the compact net.
        masks: the weights of `whole` that are kept; others count as 0.
        example_input: in a dtype and on a device that `whole` takes.
        exact: compare in train mode too.

    Raises:
        InputError: the outputs differ, or one of the nets cannot be run.
    """
    calls = [(train, size) for train, size in CALLS if exact or not train]
    with plainly(whole), forked(example_input.device, seed=0), torch.no_grad():
        for precise, batch in ((True, batches.like), (False, batches.like), (False, batches.rows)):
            x = example_input.double() if precise and example_input.is_floating_point() else example_input
            with suppress(_NotRun):
                masked = _copy(whole, precise)
                masking.apply(masks, dict(masked.named_parameters()))
                return _compare(masked, _copy(small, precise), calls, partial(batch, x))
    raise _refusal(whole, "cannot be checked, as the net can be run neither on random numbers nor on example_input")


class _NotRun(Exception):
    """The masked net cannot be run."""


def _copy(net: nn.Module, precise: bool) -> nn.Module:
    try:
        return copied(net).double() if precise else copied(net)
    except (TypeError, RuntimeError) as error:  # a device without float64
        raise _NotRun from error


def _compare(whole: nn.Module, small: nn.Module, calls: list[tuple[bool, int]], batch: Callable[[int], Tensor]) -> None:
    for number, (train, size) in enumerate(calls):
        before, x = shell(whole), batch(size)
        try:
            expected = _outputs(whole.train(train), x, number)
        except Exception as error:  # in float64, or in a batch of another size than that of the example
            if number == 0:
                raise _NotRun from error
            whole = before
            continue
        where = f"in {'train' if train else 'eval'} mode for {size} examples"
        try:
            found = _outputs(small.train(train), x, number)
        except Exception as error:
            raise _refusal(whole, f"cannot be run {where} ({first_line(error)})") from error
        gap = difference(expected, found)
        if gap > LIMITS.get(x.dtype, 0.1) and gap > ROUNDING * _rounding(before.train(train), x, number, expected):
            how = "in shape, or not finite" if gap == inf else f"by {gap:.1g} of the largest one"
            raise _refusal(whole, f"would have other outputs {where} (different {how})")


def _refusal(whole: nn.Module, why: str) -> InputError:
    way_out = "use the masked net itself, without compaction"
    return ModelError(whole, f"its compact net {why}; {way_out}")


def _outputs(net: nn.Module, x: Tensor, call: int) -> list[Tensor]:
    """The tensors that a net returns: only those that are not whole numbers, if there are any.

    What it draws at random is 0.1 or 0.9, in turn from call to call.
    """
    with Drawing((0.1, 0.9)[call % 2], x.device):
        leaves: list[Any] = tree_leaves(net(x.clone()))
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    return [leaf for leaf in tensors if leaf.is_floating_point() or leaf.is_complex()] or tensors


def _rounding(net: nn.Module, x: Tensor, call: int, expected: list[Tensor]) -> float:
    """What rounding the parameters of a net differently does to its outputs; nothing is excused in half precision."""
    if x.dtype not in LIMITS:
        return 0.0
    net = copied(net)
    for parameter in net.parameters():
        if parameter.is_floating_point():
            parameter.mul_(1 + torch.finfo(parameter.dtype).eps * torch.randn_like(parameter))
    return difference(expected, _outputs(net, x, call))
