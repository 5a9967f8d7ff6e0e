"""A recipe: AdamW without decay of norms and biases; the rate warms up and falls along a cosine, step by step."""

import math
from collections.abc import Iterable
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn


def adamw(parameters: Iterable[nn.Parameter], *, lr: float, weight_decay: float) -> torch.optim.AdamW:
    """Matrices decay; vectors, such as biases and the weights of norms, do not."""
    matrices, vectors = [], []
    for parameter in parameters:
        (matrices if parameter.ndim > 1 else vectors).append(parameter)
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=lr)


class WarmupCosine(pl.Callback):
    """Sets the learning rate before each step; `warmup` steps of rise."""

    def __init__(self, warmup: int) -> None:
        self.warmup = warmup

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """A fraction of the recipe's rate."""
        step, steps = trainer.global_step, trainer.estimated_stepping_batches
        factor = min(1.0, (step + 1) / self.warmup) * (1 + math.cos(math.pi * step / steps)) / 2
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = factor * group.setdefault("initial_lr", group["lr"])
