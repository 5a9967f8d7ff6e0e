"""The compact net that is trained in place of the masked one, and what it saves."""

from collections.abc import Sequence
from typing import Any, cast

import pytorch_lightning as pl
import torch
from torch import nn

from prune_init.compaction.compact import compact
from prune_init.pruning.loss import Loss
from prune_init.pruning.sample import Batch
from prune_init.pruning.weights import prunable
from prune_init.training.mask_buffers import MaskBuffers
from prune_init.training.savings import savings


def compacted(
    net: nn.Module, masks: MaskBuffers, shape: Sequence[int], device: torch.device
) -> tuple[nn.Module, MaskBuffers]:
    """The compact net of `net` under `masks` for images of `shape`, (C, H, W); and the masks of what is left."""
    small = compact(net, torch.zeros(2, *shape, device=device), masks=masks.tensors())
    upkeep = MaskBuffers(prunable(small), persistent=False).to(device)
    upkeep.fill(cast(Any, small).compaction.masks)
    return small, upkeep


def savings_of(whole: nn.Module, small: nn.Module, batch: Batch, loss: Loss, trainer: pl.Trainer) -> dict[str, Any]:
    """`savings` of steps in the precision of training, not compiled; and the layers left as they were."""
    precision = trainer.precision_plugin
    with precision.train_step_context():
        found = savings(whole, small, precision.convert_input(batch), loss)
    return found | {"left_alone": cast(Any, small).compaction.left_alone}
