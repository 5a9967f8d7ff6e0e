"""GraSP as its authors published it (repository alecwangcq/GraSP)."""

from dataclasses import dataclass, replace

import torch
from torch import nn

from prune_init.errors import InputError
from prune_init.pruning.masks import Tensors
from prune_init.pruning.sample import Batch, joined, picked
from prune_init.pruning.scored_net import ScoredNet
from prune_init.scorers import grasp


@dataclass(frozen=True)
class GraspOfficial(grasp.Grasp):
    """GraSP with the two peculiarities of the published code.

    The sample is sorted by class and split into two batches, so that batch statistics are those of half the classes.
    The linear layers of the copy that is scored are initialised again (Xavier), so that the classifier's scores are
    not computed from the weights that are then kept or pruned.
    """

    def __call__(self, net: ScoredNet) -> Tensors:
        """w * (H g) of the masked copy; needs `data`."""
        return super().__call__(replace(net.with_batches(_halves_by_class(net.batches)), weights=_reinitialised(net)))


def _reinitialised(net: ScoredNet) -> Tensors:
    linear = {f"{name}.weight" for name, module in net.model.named_modules() if isinstance(module, nn.Linear)}
    fresh = dict(net.weights)
    for name in (name for name in fresh if name in linear):
        drawn = torch.empty_like(fresh[name], device=net.generator.device)
        fresh[name] = nn.init.xavier_normal_(drawn, generator=net.generator).to(fresh[name].device) * net.masks[name]
    return fresh


def _halves_by_class(batches: list[Batch]) -> list[Batch]:
    x, y = joined(batches)
    if not isinstance(y, torch.Tensor) or y.ndim != 1:
        raise InputError("data", type(y).__name__, "this scorer sorts by class; allowed: one label for each example")
    order = y.argsort(stable=True)
    halves = order.tensor_split([len(order) // 2])
    return [(picked(x, half), picked(y, half)) for half in halves if len(half)]
