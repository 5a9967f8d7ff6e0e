"""What `prune` refuses, and what it warns of."""

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from prune_init.errors import InputError, one_of
from prune_init.pruning.masks import Tensors
from prune_init.pruning.schedule import Schedule


def masks_from(masks: Tensors | None, weights: Mapping[str, Tensor]) -> Tensors:
    """Masks to begin with: everything is kept, or what was kept before."""
    start = {name: torch.ones(w.shape, dtype=torch.bool, device=w.device) for name, w in weights.items()}
    for name, mask in (masks or {}).items():
        if name not in start or mask.shape != start[name].shape or mask.dtype != torch.bool:
            raise InputError("masks", name, "allowed: one boolean tensor per prunable weight, of the same shape")
        start[name].copy_(mask)
    return start


def settings_of(
    scorer: Any,
    sparsity: float,
    iterations: int | None,
    schedule: str | Schedule,
    scope: str,
    mode: str | None,
) -> dict[str, Any]:
    """The arguments that were chosen, checked, the scorer's own where they are None."""
    if not 0 <= sparsity < 1:
        raise InputError("sparsity", sparsity, "allowed: 0 <= sparsity < 1, the fraction of weights to remove")
    iterations = getattr(scorer, "iterations", 1) if iterations is None else iterations
    if not (isinstance(iterations, int) and iterations >= 1):
        raise InputError("iterations", iterations, "allowed: whole numbers from 1")
    if scope not in ("global", "layer"):
        raise InputError("scope", scope, one_of(scope, ("global", "layer")))
    mode = getattr(scorer, "mode", "eval") if mode is None else mode
    if mode not in ("train", "eval"):
        raise InputError("mode", mode, one_of(mode, ("train", "eval")))
    label = schedule if isinstance(schedule, str) else getattr(schedule, "__name__", repr(schedule))
    return {"scorer": repr(scorer), "iterations": iterations, "schedule": label, "scope": scope, "mode": mode}


def check_scores(scores: Tensors, weights: Tensors) -> None:
    """Refuse scores that are not there, of another shape, or not finite."""
    if scores.keys() != weights.keys():
        odd = sorted(scores.keys() ^ weights.keys())
        raise InputError("scorer", odd[0], "a scorer must return one score tensor for each prunable weight")
    for name, score in scores.items():
        if score.shape != weights[name].shape:
            raise InputError("scorer", name, f"scores {tuple(score.shape)} for weights {tuple(weights[name].shape)}")
        # A sum is finite only if all its terms are; where it overflows, look closer.
        if not score.sum().isfinite() and not score.isfinite().all():
            raise InputError("scores", name, "not finite; try dtype=torch.float64 or look at the net's initialisation")


def warn_if_starved(keep: int, layers: int) -> None:
    """Say that there are fewer weights to keep than layers."""
    if keep < layers:
        warnings.warn(f"sparsity leaves {keep} weights for {layers} layers: some layers must be empty", stacklevel=4)
