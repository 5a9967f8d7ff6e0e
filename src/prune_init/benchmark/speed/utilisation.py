"""Compare the FLOP/s of training with those of a product of matrices on the same machine."""

from statistics import median
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from prune_init.benchmark.speed.cases import BATCH, DEVICE, SMALL, fitted, made, seconds
from prune_init.pruning.flops import Flops

PRECISIONS = {"32-true": torch.float32, "bf16-mixed": torch.bfloat16}
SIDE, STEPS = (8192, 100) if DEVICE.type == "cuda" else (2048, 4)
"""Rows and columns of the matrices; training steps in the epoch that is timed."""


def rates(*, quick: bool, repeats: int) -> list[dict[str, Any]]:
    """One row for each network, precision and batch size: FLOP/s of training, and of a product of two matrices."""
    cases = [("conv", 32)] if quick else [("vgg16", BATCH), ("vgg16", 4 * BATCH), ("resnet18", BATCH)]
    rows = []
    for precision, dtype in PRECISIONS.items():
        highest = product_rate(256 if quick else SIDE, dtype)
        for net, batch in cases:
            found = training_rate(net, batch, precision, repeats)
            row = {"net": net, "batch": batch, "precision": precision}
            rows.append({**row, "flops": found, "product_flops": highest, "share": found / highest})
    return rows


def product_rate(side: int, dtype: torch.dtype) -> float:
    """FLOP/s of the product of two square matrices: the median of ten products, after one to warm up."""
    a, b = (torch.randn(side, side, device=DEVICE).to(dtype) for _ in range(2))
    product = a @ b

    def multiply() -> None:
        torch.mm(a, b, out=product)

    return 2 * side**3 / median(seconds(multiply)["wall"] for _ in range(10))


def training_rate(net: str, batch: int, precision: str, repeats: int) -> float:
    """FLOP/s of an epoch under Lightning: FLOP of the forward and backward passes over the time of the whole epoch."""
    epochs = [fitted(net, STEPS * batch, precision, batch=batch, channels_last=True) for _ in range(repeats)]
    return step_flops(made(net)) * STEPS * batch / median(seconds(epoch)["wall"] for epoch in epochs)


def step_flops(model: nn.Module) -> float:
    """FLOP of the forward and backward pass of a training step, for one small image."""
    x, y = torch.randn(2, *SMALL, device=DEVICE), torch.zeros(2, dtype=torch.long, device=DEVICE)
    with Flops() as counter:
        F.cross_entropy(model.train()(x), y).backward()
    return counter.total / 2
