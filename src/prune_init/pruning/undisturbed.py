"""Scoring that leaves the model and the global random state unchanged."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from prune_init.pruning.chance import forked
from prune_init.pruning.plain_run import plainly
from prune_init.pruning.read_only import only_read


@contextmanager
def undisturbed(model: nn.Module, mode: str, generator: torch.Generator, device: torch.device) -> Iterator[None]:
    """The context for scoring on `device`: `model` in `mode`, gradients on, random state forked; restored at exit."""
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    with only_read(model), plainly(model), forked(device, seed), torch.enable_grad():
        model.train(mode == "train")
        yield
