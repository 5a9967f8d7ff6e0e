"""Floating-point operations, counted while they happen."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


class Flops(TorchDispatchMode):
    """Adds up what convolutions and matrix products cost, by the formulas of `torch.utils.flop_counter`.

    Its `FlopCounterMode` counts the same, but imports torch's compiler first, which takes longer than many a pruning.

    Attributes:
        total: floating-point operations so far; a multiply-add is two.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled here

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Called in place of every operation."""
        result = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.total += formula(*args, **(kwargs or {}), out_val=result)
        return result


@torch.no_grad()
def multiply_adds(net: nn.Module, x: Tensor) -> int:
    """Of convolutions and matrix products in one forward pass of `net`, as it is, with input x."""
    with Flops() as counter:
        net(x)
    return counter.total // 2
