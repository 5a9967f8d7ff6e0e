"""What compaction saves: multiply-adds and parameters counted, seconds of a training step measured."""

import copy
import time
from statistics import median
from typing import Any

import torch
from torch import nn

from prune_init.pruning.flops import multiply_adds
from prune_init.pruning.loss import Loss
from prune_init.pruning.sample import Batch


def savings(whole: nn.Module, small: nn.Module, batch: Batch, loss: Loss, *, repeats: int = 3) -> dict[str, Any]:
    """Compare two nets of the same function on copies, in turns, so that a busy machine slows both.

    Args:
        whole: the masked net.
        small: the compact one.
        batch: training images and labels, of the nets' type.
        loss: (output, target) -> scalar.
        repeats: training steps of each; the median counts.

    Returns:
        `multiply_adds`, `parameters` and `step_seconds` (forward and backward of the batch), each of the `dense` and
        the `compact` net.
    """
    nets = {"dense": copy.deepcopy(whole).train(), "compact": copy.deepcopy(small).train()}
    cuda = [batch[0].device] if batch[0].device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):  # dropout draws
        rounds = [{name: _step_seconds(net, batch, loss) for name, net in nets.items()} for _ in range(repeats + 1)]
    return {
        "multiply_adds": {name: multiply_adds(net.eval(), batch[0][:1]) for name, net in nets.items()},
        "parameters": {name: sum(p.numel() for p in net.parameters()) for name, net in nets.items()},
        "step_seconds": {name: median(one[name] for one in rounds[1:]) for name in nets},  # the first one warms up
    }


def _step_seconds(net: nn.Module, batch: Batch, loss: Loss) -> float:
    x, y = batch
    start = time.perf_counter()
    loss(net(x), y).backward()
    net.zero_grad()
    if x.device.type == "cuda":
        torch.cuda.synchronize(x.device)
    return time.perf_counter() - start
