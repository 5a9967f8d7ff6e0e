"""Masks as buffers outside the net, and the factors that keep pruned weights at 0 during training."""

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from prune_init.pruning.masks import Tensors
from prune_init.pruning.upkeep import Factors


class MaskBuffers(nn.Module):
    """One boolean buffer per prunable weight, all True until `fill`.

    As buffers of the module that is checkpointed, masks are saved in checkpoints. Outside the net, they do not change
    its `state_dict` or `forward`.

    Attributes:
        factors: sets pruned weights and their gradients to 0.
    """

    def __init__(self, weights: Mapping[str, nn.Parameter], *, persistent: bool = True) -> None:
        super().__init__()
        self._weights = dict(weights)  # a plain dict: the parameters stay registered in the net alone
        for name, weight in weights.items():
            self.register_buffer(_key(name), torch.ones_like(weight, dtype=torch.bool), persistent=persistent)
        self.factors = Factors({_key(name): weight for name, weight in weights.items()}, cast(Tensors, self._buffers))

    def fill(self, masks: Tensors) -> None:
        """Copy these masks into the buffers."""
        for name, mask in masks.items():
            self.get_buffer(_key(name)).copy_(mask)

    def fill_from(self, state: Tensors, prefix: str) -> None:
        """Copy the masks of a checkpoint's `state_dict` into the buffers."""
        self.fill({name: state[f"{prefix}.{_key(name)}"] for name in self._weights})

    def share(self) -> None:
        """Copy the masks of the first process to all processes, if there are several."""
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            masks = {name: mask.contiguous() for name, mask in self.tensors().items()}
            for mask in masks.values():
                torch.distributed.broadcast(mask, src=0)
            self.fill(masks)

    def tensors(self) -> Tensors:
        """The masks by parameter name."""
        return {name: self.get_buffer(_key(name)) for name in self._weights}

    def checksum(self) -> Tensor:
        """One int64 per mask: the sum of the flat indices of the kept weights."""
        return torch.stack([mask.flatten().nonzero().sum() for mask in self.tensors().values()])


def _key(name: str) -> str:
    return name.replace(".", "/")  # buffer names must not contain dots
