"""Counting floating-point operations while a net runs."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


class Flops(TorchDispatchMode):
    """Counts the operations of convolutions and matrix products, by the formulas of `torch.utils.flop_counter`.

    torch's own `FlopCounterMode` counts the same, but imports torch's compiler, which can take longer than pruning.

    Attributes:
        total: floating-point operations so far; a multiply-add counts as two.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled here

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and add its count; called by torch for every operation."""
        result = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.total += formula(*args, **(kwargs or {}), out_val=result)
        return result


@torch.no_grad()
def multiply_adds(net: nn.Module, x: Tensor) -> int:
    """Multiply-adds of convolutions and matrix products in one forward pass of `net` on x, in its current mode."""
    with Flops() as counter:
        net(x)
    return counter.total // 2
