"""Chance under control while two nets are compared: what is drawn anew is a given number, what is frozen is not."""

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from prune_init.pruning.chance import reseed
from prune_init.pruning.operations import lookup


class Drawing(TorchDispatchMode):
    """Let every random number that torch draws be `number`, as nets of other widths draw others from the same seed.

    Whole numbers and indices become 0. An operation that draws on the side, such as rrelu, starts from the same seed.
    """

    def __init__(self, number: float, device: torch.device) -> None:
        super().__init__()
        self._number, self._device = number, device

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """The operation's result, without chance."""
        name = func.overloadpacket.__name__
        if torch.Tag.nondeterministic_seeded not in func.tags:
            return func(*args, **(kwargs or {}))
        if name == "native_dropout":  # on GPUs; elsewhere dropout multiplies by a random tensor
            return args[0] * self._number, torch.ones_like(args[0], dtype=torch.bool)
        reseed(self._device, 0)
        drawn, found = func(*args, **(kwargs or {})), lookup(name)
        return drawn.fill_(self._number) if found is not None and found.draws else drawn
