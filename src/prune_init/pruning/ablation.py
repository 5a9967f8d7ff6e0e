"""Ablations: does it matter which weights a mask keeps, and with what values? (Frankle et al. 2021, section 4)

Each function takes `prune`, a partial of `prune_init.prune` that lacks only model and data, and prunes with one thing
changed; `shuffle` and `reinitialise` assert what they changed and what they kept. `generator` is the source of
randomness; `fresh` makes another net of the same architecture. `shuffle` is the ablation "layer ratios only".
"""

import copy
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from prune_init.errors import InputError
from prune_init.pruning import masks as masking
from prune_init.pruning.checks import shape_of
from prune_init.pruning.connectivity import assess
from prune_init.pruning.masks import Tensors
from prune_init.pruning.result import PruneResult
from prune_init.pruning.sample import Batch
from prune_init.pruning.scored_net import ScoredNet
from prune_init.pruning.wrapped import Wrapped


def shuffle(
    prune: "partial[PruneResult]",
    model: nn.Module,
    *,
    data: Iterable[Batch] | None = None,
    generator: torch.Generator,
    fresh: Callable[[], nn.Module],
) -> PruneResult:
    """Move the mask's kept positions to random places within each layer; counts per layer and weight values stay."""
    dense = copy.deepcopy(model.state_dict())
    result = prune(model, data=data)
    shuffled = {name: _permuted(mask, generator) for name, mask in result.masks.items()}
    model.load_state_dict(dense)
    masking.apply(shuffled, result.weights)
    for name, mask in shuffled.items():
        assert mask.sum() == result.masks[name].sum(), name
        assert torch.equal(result.weights[name][mask], dense[name][mask]), name
    shape = shape_of(prune.keywords.get("input_shape"), model)
    return replace(result, masks=shuffled, connectivity=assess(model, shuffled, shape))


def reinitialise(
    prune: "partial[PruneResult]",
    model: nn.Module,
    *,
    data: Iterable[Batch] | None = None,
    generator: torch.Generator,
    fresh: Callable[[], nn.Module],
) -> PruneResult:
    """Keep the mask and initialise every parameter again.

    Raises:
        InputError: `fresh` returns the same weights again, as for a pretrained net, so nothing would change.
    """
    drawn = fresh().to(next(model.parameters()).device)
    if all(torch.equal(drawn.get_parameter(name), weight) for name, weight in model.named_parameters()):
        raise InputError("ablation", "reinitialise", "needs an architecture with random initial weights")
    result = prune(model, data=data)
    model.load_state_dict(drawn.state_dict())
    masking.apply(result.masks, result.weights)
    for name, mask in result.masks.items():
        assert not result.weights[name][~mask].any(), name
        assert torch.equal(result.weights[name][mask], drawn.get_parameter(name)[mask]), name
    return result


def invert(
    prune: "partial[PruneResult]",
    model: nn.Module,
    *,
    data: Iterable[Batch] | None = None,
    generator: torch.Generator,
    fresh: Callable[[], nn.Module],
) -> PruneResult:
    """In each iteration, keep the remaining weights with the lowest scores."""
    return prune(model, scorer=Inverted(prune.keywords["scorer"]), data=data)


class Inverted(Wrapped):
    """A scorer with the reverse ranking."""

    def __call__(self, net: ScoredNet) -> Tensors:
        """The negated scores: unlike reciprocals, they are defined for scores of zero."""
        return {name: -score for name, score in self.scorer(net).items()}


def _permuted(mask: Tensor, generator: torch.Generator) -> Tensor:
    order = torch.randperm(mask.numel(), generator=generator, device=generator.device).to(mask.device)
    return mask.flatten()[order].view_as(mask)
