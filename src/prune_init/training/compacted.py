"""The compact net that is trained in place of the masked one, and what it saves."""

import copy
import time
from collections.abc import Sequence
from statistics import median
from typing import Any, cast

import pytorch_lightning as pl
import torch
from torch import nn

from prune_init.compaction.compact import compact
from prune_init.pruning.flops import multiply_adds
from prune_init.pruning.loss import Loss
from prune_init.pruning.sample import Batch
from prune_init.pruning.weights import prunable
from prune_init.training.mask_buffers import MaskBuffers

STEPS = 4
"""Training steps that are timed of each net, of which the first only warms up."""


def compacted(
    net: nn.Module, masks: MaskBuffers, shape: Sequence[int], device: torch.device
) -> tuple[nn.Module, MaskBuffers]:
    """The compact net of `net` under `masks` for images of `shape`, (C, H, W); and the masks of what is left."""
    small = compact(net, torch.zeros(2, *shape, device=device), masks=masks.tensors())
    upkeep = MaskBuffers(prunable(small), persistent=False).to(device)
    upkeep.fill(cast(Any, small).compaction.masks)
    return small, upkeep


def savings(whole: nn.Module, small: nn.Module, batch: Batch, loss: Loss, trainer: pl.Trainer) -> dict[str, Any]:
    """Compare the two nets on copies, in turns, so that a busy machine slows both; not compiled.

    Args:
        whole: the masked net.
        small: the compact one.
        batch: training images and labels.
        loss: (output, target) -> scalar.
        trainer: whose precision the steps have.

    Returns:
        `multiply_adds`, `parameters` and `step_seconds` (forward and backward of the batch, the median), each of the
        `dense` and the `compact` net; and the layers that were `left_alone`.
    """
    nets = {"dense": copy.deepcopy(whole).train(), "compact": copy.deepcopy(small).train()}
    x, y = trainer.precision_plugin.convert_input(batch)
    cuda = [x.device] if x.device.type == "cuda" else []
    with trainer.precision_plugin.train_step_context():
        with torch.random.fork_rng(devices=cuda):  # dropout draws
            rounds = [{name: _step_seconds(net, (x, y), loss) for name, net in nets.items()} for _ in range(STEPS)]
        return {
            "multiply_adds": {name: multiply_adds(net.eval(), x[:1]) for name, net in nets.items()},
            "parameters": {name: sum(p.numel() for p in net.parameters()) for name, net in nets.items()},
            "step_seconds": {name: median(one[name] for one in rounds[1:]) for name in nets},
            "left_alone": cast(Any, small).compaction.left_alone,
        }


def _step_seconds(net: nn.Module, batch: Batch, loss: Loss) -> float:
    x, y = batch
    start = time.perf_counter()
    loss(net(x), y).backward()
    net.zero_grad()
    if x.device.type == "cuda":
        torch.cuda.synchronize(x.device)
    return time.perf_counter() - start
