"""The compact net that is trained in place of the masked net, and what it saves."""

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
"""Training steps to time with each net; the first one is only a warm-up."""


def compacted(
    net: nn.Module, masks: MaskBuffers, shape: Sequence[int], device: torch.device
) -> tuple[nn.Module, MaskBuffers]:
    """The compact net of `net` under `masks` for images of `shape`, (C, H, W), and the masks of its weights."""
    small = compact(net, torch.zeros(2, *shape, device=device), masks=masks.tensors())
    upkeep = MaskBuffers(prunable(small), persistent=False).to(device)
    upkeep.fill(cast(Any, small).compaction.masks)
    return small, upkeep


def savings(whole: nn.Module, small: nn.Module, batch: Batch, loss: Loss, trainer: pl.Trainer) -> dict[str, Any]:
    """Compare copies of both nets, not compiled; they take turns, so that a busy machine slows down both.

    Args:
        whole: the masked net.
        small: the compact net.
        batch: training images and labels.
        loss: (output, target) -> scalar.
        trainer: decides the precision of the steps.

    Returns:
        `multiply_adds`, `parameters` and `step_seconds` (median of a forward and backward pass of the batch), each for
        the `dense` and the `compact` net; and `left_alone`, the layers that were not compacted.
    """
    nets = {"dense": copy.deepcopy(whole).train(), "compact": copy.deepcopy(small).train()}
    x, y = trainer.precision_plugin.convert_input(batch)
    cuda = [x.device] if x.device.type == "cuda" else []
    with trainer.precision_plugin.train_step_context():
        with torch.random.fork_rng(devices=cuda):  # for dropout
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
