"""Running a model so that it and the global random state are left as they were."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from prune_init.pruning.chance import forked
from prune_init.pruning.plain_run import plainly
from prune_init.pruning.read_only import only_read


@contextmanager
def undisturbed(model: nn.Module, device: torch.device, seed: int, *, mode: str | None = None) -> Iterator[None]:
    """The context for running `model` on `device`, in `mode` if given: plainly, with gradients, from a fixed seed."""
    with only_read(model), plainly(model), forked(device, seed), torch.enable_grad():
        if mode is not None:
            model.train(mode == "train")
        yield
