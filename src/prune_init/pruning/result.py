"""What pruning found: masks, scores, the state of each layer, and the cost."""

import os
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from prune_init.pruning import masks as mask_files
from prune_init.pruning import upkeep
from prune_init.pruning.connectivity import Connectivity, Layer
from prune_init.pruning.cost import Cost
from prune_init.pruning.masks import Tensors
from prune_init.pruning.ties import Ties


@dataclass(frozen=True)
class PruneResult:
    """The outcome of `prune_init.prune`.

    Attributes:
        masks: boolean tensors by parameter name, True = kept.
        scores: scores of the last iteration, by the same names.
        connectivity: kept and effective weights per layer.
        cost: passes and seconds.
        settings: how the masks were made; stored with them.
        ties: how far position decided, where scores did not.
    """

    masks: Tensors
    scores: Tensors
    connectivity: Connectivity
    cost: Cost
    settings: dict[str, object]
    weights: dict[str, Tensor] = field(repr=False)
    ties: Ties = field(default_factory=Ties)

    @property
    def layers(self) -> list[Layer]:
        """One row per prunable tensor, in order."""
        return self.connectivity.layers

    @property
    def sparsity(self) -> float:
        """Fraction of prunable weights removed."""
        return self.connectivity.sparsity

    @property
    def effective_sparsity(self) -> float | None:
        """Sparsity counted over weights that lie on a path from input to output; None if paths are unknown."""
        return self.connectivity.effective_sparsity

    @property
    def connected(self) -> bool | None:
        """Whether any path leads from input to output; None if paths are unknown."""
        return self.connectivity.connected

    def as_dict(self) -> dict[str, Any]:
        """All but the tensors, as plain values."""
        return {
            "settings": self.settings,
            "sparsity": self.sparsity,
            "effective_sparsity": self.effective_sparsity,
            "connected": self.connected,
            "layers": [layer.as_dict() for layer in self.layers],
            "cost": self.cost.as_dict(),
            "ties": self.ties.as_dict(),
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the masks as safetensors with the settings as metadata; `prune_init.load_masks` reads them.

        Raises:
            InputError: the file cannot be written.
        """
        mask_files.save(path, self.masks, self.settings)

    def keep(self, optimizer: torch.optim.Optimizer) -> tuple[RemovableHandle, ...]:
        """From now on every `optimizer.step()` ends with the pruned weights at exactly 0.0; see `prune_init.keep`.

        Raises:
            InputError: the optimiser has other weights than those of the net that was pruned, as one of a copy has.
        """
        return upkeep.hold(self.weights, self.masks, optimizer)
