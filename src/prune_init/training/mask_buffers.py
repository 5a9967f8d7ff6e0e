"""Masks as buffers outside the net, and the upkeep that makes training respect them."""

from collections.abc import Callable, Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from prune_init.pruning.masks import Tensors


class MaskBuffers(nn.Module):
    """One boolean buffer per prunable weight, all True until `fill`.

    Being buffers of the module that is checkpointed, masks travel in checkpoints; being outside the net, they leave
    its `state_dict` and `forward` as they are.
    """

    def __init__(self, weights: Mapping[str, nn.Parameter], *, persistent: bool = True) -> None:
        super().__init__()
        self._weights = dict(weights)  # a plain dict: the parameters stay registered in the net alone
        for name, weight in weights.items():
            self.register_buffer(_key(name), torch.ones_like(weight, dtype=torch.bool), persistent=persistent)

        self._factors: dict[str, Tensor] = {}

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        self._factors = {}
        return super()._apply(fn, recurse)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self._factors = {}
        super()._load_from_state_dict(*args, **kwargs)

    def fill(self, masks: Tensors) -> None:
        """Take over these masks."""
        for name, mask in masks.items():
            self.get_buffer(_key(name)).copy_(mask)
        self._factors = {}

    def fill_from(self, state: Tensors, prefix: str) -> None:
        """Take over the masks of a checkpoint's `state_dict`."""
        self.fill({name: state[f"{prefix}.{_key(name)}"] for name in self._weights})

    def share(self) -> None:
        """Take over the masks of the first process, where there are several."""
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            masks = {name: mask.contiguous() for name, mask in self.tensors().items()}
            for mask in masks.values():
                torch.distributed.broadcast(mask, src=0)
            self.fill(masks)

    def tensors(self) -> Tensors:
        """The masks by parameter name."""
        return {name: self.get_buffer(_key(name)) for name in self._weights}

    def checksum(self) -> Tensor:
        """One number per mask, int64: the sum of the indices of the weights that are kept."""
        return torch.stack([mask.flatten().nonzero().sum() for mask in self.tensors().values()])

    @torch.no_grad()
    def clear_gradients(self) -> None:
        """Zero the gradients of pruned weights: before clipping, so that they do not count in the norm."""
        pairs = [(w.grad, factor) for w, factor in self._pairs() if w.grad is not None]
        if pairs:
            torch._foreach_mul_([g for g, _ in pairs], [factor for _, factor in pairs])

    @torch.no_grad()
    def clear_weights(self) -> None:
        """Set pruned weights to 0.0: after the step, whatever the optimiser did."""
        weights, factors = zip(*self._pairs(), strict=True)
        torch._foreach_mul_(weights, factors)

    def _pairs(self) -> list[tuple[nn.Parameter, Tensor]]:
        """Weights, and masks as numbers of their type and in their order: booleans would be converted at every step."""
        if not self._factors:
            self._factors = {
                name: torch.empty_like(weight).copy_(self.get_buffer(_key(name)))
                for name, weight in self._weights.items()
            }
        return [(weight, self._factors[name]) for name, weight in self._weights.items()]


def _key(name: str) -> str:
    return name.replace(".", "/")  # buffer names must not contain dots
