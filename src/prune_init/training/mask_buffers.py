"""Masks as buffers outside the net, and the upkeep that makes training respect them."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from prune_init.pruning.masks import Tensors


class MaskBuffers(nn.Module):
    """One boolean buffer per prunable weight, all True until `fill`.

    Being buffers of the module that is checkpointed, masks travel in checkpoints and in DDP's first broadcast; being
    outside the net, they leave its `state_dict` and `forward` as they are.
    """

    def __init__(self, weights: Mapping[str, nn.Parameter], *, persistent: bool = True) -> None:
        super().__init__()
        self._weights = dict(weights)  # a plain dict: the parameters stay registered in the net alone
        for name, weight in weights.items():
            self.register_buffer(_key(name), torch.ones_like(weight, dtype=torch.bool), persistent=persistent)

    def fill(self, masks: Tensors) -> None:
        """Take over these masks."""
        for name, mask in masks.items():
            self.get_buffer(_key(name)).copy_(mask)

    def fill_from(self, state: Tensors, prefix: str) -> None:
        """Take over the masks of a checkpoint's `state_dict`."""
        self.fill({name: state[f"{prefix}.{_key(name)}"] for name in self._weights})

    def tensors(self) -> Tensors:
        """The masks by parameter name."""
        return {name: self.get_buffer(_key(name)) for name in self._weights}

    def checksum(self) -> Tensor:
        """One number per mask, int64: the sum of the places of the weights that are kept."""
        return torch.stack([mask.flatten().nonzero().sum() for mask in self.tensors().values()])

    @torch.no_grad()
    def clear_gradients(self) -> None:
        """Zero the gradients of pruned weights: before clipping, so that they do not count in the norm."""
        pairs = [(w.grad, m) for w, m in self._pairs() if w.grad is not None]
        if pairs:
            torch._foreach_mul_([g for g, _ in pairs], [m for _, m in pairs])

    @torch.no_grad()
    def clear_weights(self) -> None:
        """Set pruned weights to 0.0: after the step, whatever the optimiser did."""
        weights, masks = zip(*self._pairs(), strict=True)
        torch._foreach_mul_(weights, masks)

    def _pairs(self) -> list[tuple[nn.Parameter, Tensor]]:
        return [(weight, self.get_buffer(_key(name))) for name, weight in self._weights.items()]


def _key(name: str) -> str:
    return name.replace(".", "/")  # buffer names must not contain dots
