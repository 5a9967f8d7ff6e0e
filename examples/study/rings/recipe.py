"""A recipe: AdamW without weight decay of norms and biases, and a learning rate with warm-up and cosine decay."""

import math
from collections.abc import Iterable
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn


def adamw(parameters: Iterable[nn.Parameter], *, lr: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW with weight decay of matrices, but not of vectors, such as biases and norm weights."""
    matrices, vectors = [], []
    for parameter in parameters:
        (matrices if parameter.ndim > 1 else vectors).append(parameter)
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=lr)


class WarmupCosine(pl.Callback):
    """Sets the learning rate before each step; it rises during the first `warmup` steps."""

    def __init__(self, warmup: int) -> None:
        self.warmup = warmup

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """Set the learning rate to a fraction of the recipe's rate."""
        step, steps = trainer.global_step, trainer.estimated_stepping_batches
        factor = min(1.0, (step + 1) / self.warmup) * (1 + math.cos(math.pi * step / steps)) / 2
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = factor * group.setdefault("initial_lr", group["lr"])
