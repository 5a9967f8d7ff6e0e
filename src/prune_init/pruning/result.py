"""The result of pruning: masks, scores, kept and effective weights of each layer, and the cost."""

import os
from dataclasses import dataclass, field
from html import escape
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from prune_init.errors import InputError
from prune_init.pruning import layer_table, upkeep
from prune_init.pruning import masks as mask_files
from prune_init.pruning.connectivity import Connectivity, Layer
from prune_init.pruning.cost import Cost
from prune_init.pruning.masks import Tensors
from prune_init.pruning.ties import Ties

SHOWN = 40
"""The number of layers that `repr` shows of a deep net; `table` shows all by default."""


@dataclass(frozen=True, eq=False, repr=False)
class PruneResult:
    """The result of `prune_init.prune`. Its `repr` is a table of layers; two results are equal if their masks are.

    Attributes:
        masks: boolean tensors by parameter name, True = kept.
        scores: the scores of the last iteration, by the same names.
        connectivity: kept and effective weights per layer.
        cost: passes, floating-point operations, seconds and memory.
        settings: how the masks were made; stored with them.
        weights: the pruned model's own parameters, by the same names.
        model: the pruned model.
        ties: to what extent position, rather than scores, decided which weights are kept.
    """

    masks: Tensors
    scores: Tensors
    connectivity: Connectivity
    cost: Cost
    settings: dict[str, object]
    weights: dict[str, Tensor]
    model: nn.Module
    ties: Ties = field(default_factory=Ties)

    @property
    def layers(self) -> list[Layer]:
        """One `Layer` per prunable tensor, in order."""
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
        """Everything except the tensors, as plain values."""
        return {
            "settings": self.settings,
            "sparsity": self.sparsity,
            "effective_sparsity": self.effective_sparsity,
            "connected": self.connected,
            "layers": [layer.as_dict() for layer in self.layers],
            "cost": self.cost.as_dict(),
            "ties": self.ties.as_dict(),
        }

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PruneResult):
            return NotImplemented
        mine, theirs = self.masks, other.masks
        return mine.keys() == theirs.keys() and all(torch.equal(mine[n].cpu(), theirs[n].cpu()) for n in mine)

    __hash__ = None  # type: ignore[assignment]  # masks can be changed

    def __repr__(self) -> str:
        return f"{self._title()}\n{self.table(SHOWN)}\n{layer_table.bill(self.cost)}"

    def _repr_html_(self) -> str:
        table = layer_table.html(layer_table.rows(self.connectivity, SHOWN))
        return f"<div><p>{escape(self._title())}</p>{table}<p>{layer_table.bill(self.cost)}</p></div>"

    def _title(self) -> str:
        removed, effective = map(layer_table.percent, (self.sparsity, self.effective_sparsity))
        return f"PruneResult of {self.settings['scorer']}: sparsity {removed}, effective {effective}"

    def table(self, most: int | None = None) -> str:
        """The layers as a text table: name, shape, size, kept weights, density, weights on a path; totals last.

        Args:
            most: show at most about this many layers, the first and the last ones; `None`: all.
        """
        return layer_table.text(layer_table.rows(self.connectivity, most))

    def to_frame(self) -> Any:
        """The layers as a `pandas.DataFrame`: name, shape, size, kept, effective, density.

        Raises:
            InputError: pandas is not installed.
        """
        try:
            pandas = import_module("pandas")
        except ModuleNotFoundError as error:
            raise InputError("to_frame", error.name, "is not installed: pip install pandas") from error
        return pandas.DataFrame([layer.as_dict() for layer in self.layers])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the masks as safetensors with the settings as metadata; `prune_init.load_masks` reads them.

        Raises:
            InputError: the file cannot be written.
        """
        mask_files.save(path, self.masks, self.settings)

    def keep(self, optimizer: torch.optim.Optimizer) -> tuple[RemovableHandle, ...]:
        """Make every later `optimizer.step()` end with the pruned weights at exactly 0.0; see `prune_init.keep`.

        Raises:
            InputError: the optimiser has none of the pruned net's weights, for instance because it is that of a copy.
        """
        return upkeep.hold(self.model, self.weights, self.masks, optimizer)
