"""Checks of the arguments of `prune`: what raises an InputError and what causes a warning."""

import warnings
from collections.abc import Mapping, Sequence
from operator import index
from typing import Any

import torch
from torch import Tensor, nn

from prune_init.allowed import ITERATIONS, MODE, SCOPE, SPARSITY
from prune_init.errors import InputError, one_of
from prune_init.pruning.masks import Tensors, count
from prune_init.pruning.sample import check_inputs
from prune_init.pruning.schedule import Schedule
from prune_init.pruning.weights import has_computed_weight, inside, plainly_named, prunable


def masks_from(masks: Tensors | None, weights: Mapping[str, Tensor], sparsity: float, device: torch.device) -> Tensors:
    """The initial masks: True except where `masks` prune; refuse masks that leave too few weights for `sparsity`."""
    start = {name: torch.ones(w.shape, dtype=torch.bool, device=device) for name, w in weights.items()}
    for name, mask in named_masks(masks or {}, weights).items():
        start[name].copy_(mask)
    left, size = count(start), sum(mask.numel() for mask in start.values())
    if sparsity and left < round((1 - sparsity) * size):
        why = f"the masks already leave only {left:,} of {size:,} weights, fewer than this sparsity keeps"
        raise InputError("sparsity", sparsity, why)
    _warn_of_zeros(weights, start, device)
    return start


def parameter_masks(model: nn.Module, masks: Tensors | None) -> Tensors:
    """The masks under the names of the net's parameters; None: a prunable weight is pruned where it is 0."""
    if masks is None:
        return {name: weight.detach() != 0 for name, weight in prunable(model).items()}
    return named_masks(masks, dict(inside(model).named_parameters()), "parameter")


def named_masks(masks: Any, weights: Mapping[str, Tensor], what: str = "prunable weight") -> Tensors:
    """The masks under the net's own parameter names, which are those of `weights`.

    Raises:
        InputError: there is no weight of a mask's name and shape, or a mask is not boolean.
    """
    if not isinstance(masks, Mapping):
        raise InputError("masks", type(masks).__name__, "allowed: boolean tensors by weight name, as load_masks gives")
    named = plainly_named(masks, weights)
    for name, mask in named.items():
        if name not in weights:
            raise InputError("masks", name, f"is no {what} of the net; {one_of(name, weights)}")
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool or mask.shape != weights[name].shape:
            given = f"{tuple(mask.shape)}, {mask.dtype}" if isinstance(mask, Tensor) else type(mask).__name__
            allowed = f"allowed: a boolean tensor of shape {tuple(weights[name].shape)}"
            raise InputError("masks", name, f"is {given}; {allowed}")
    return named


def shape_of(input_shape: Sequence[int] | None, model: nn.Module) -> tuple[int, ...] | None:
    """The shape of one example: `input_shape`, or else the model's own attribute `input_shape`, or else None."""
    given = getattr(model, "input_shape", None) if input_shape is None else input_shape
    if given is None:
        return None
    try:
        shape = tuple(index(size) for size in given)
    except TypeError:
        shape = (0,)
    if min(shape, default=1) < 1:
        told = type(given).__name__ if isinstance(given, Tensor) else given
        raise InputError("input_shape", told, "allowed: whole numbers from 1, such as (3, 32, 32), without the batch")
    return shape


def check_example(example: Any, input_shape: Sequence[int] | None) -> None:
    """Raise an InputError unless `example` is a batch of the net's input, or if `input_shape` is given as well."""
    if example is None:
        return
    if input_shape is not None:
        raise InputError("input_shape", input_shape, "allowed: this or example_input, not both")
    check_inputs("example_input", example)


def check_batch(key: str, example: Any) -> None:
    """Raise an InputError unless `example` is a tensor with at least one example."""
    if not isinstance(example, Tensor):
        raise InputError(key, type(example).__name__, "allowed: a tensor, a batch of the model's input")
    if example.ndim == 0 or example.numel() == 0:
        raise InputError(key, list(example.shape), "allowed: a batch of at least one example")


def check_tools(loss: Any, generator: Any, dtype: Any, progress: Any) -> None:
    """Check arguments whose mistakes would otherwise show only in the middle of scoring."""
    if progress is not None and not isinstance(progress, bool) and not callable(progress):
        raise InputError("progress", progress, "allowed: True for a bar, or a function (iteration, iterations)")
    if loss is not None and not callable(loss):
        raise InputError("loss", loss, "allowed: a function (output, target) -> mean loss")
    if not isinstance(generator, torch.Generator | None):
        raise InputError("generator", generator, "allowed: a torch.Generator, seeded by its manual_seed(SEED)")
    check_dtype("dtype", dtype)


def check_dtype(key: str, dtype: Any) -> None:
    """Raise an InputError unless `dtype` is a floating-point type or None."""
    if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise InputError(key, dtype, "allowed: a floating-point type, such as torch.float64")


def settings_of(
    scorer: Any,
    sparsity: float,
    iterations: int | None,
    schedule: str | Schedule,
    counts: str,
    scope: str,
    mode: str | None,
) -> dict[str, Any]:
    """Check these arguments and return them as plain values, with the scorer's defaults in place of None."""
    if isinstance(scorer, type) or not callable(scorer):
        raise InputError(
            "scorer", scorer, "allowed: a name that prune_init.scorers() lists, or a function of a ScoredNet"
        )
    iterations = getattr(scorer, "iterations", 1) if iterations is None else iterations
    mode = getattr(scorer, "mode", "eval") if mode is None else mode
    SPARSITY.check("sparsity", sparsity)
    ITERATIONS.check("iterations", iterations)
    SCOPE.check("scope", scope)
    MODE.check("mode", mode)
    function = getattr(schedule, "func", schedule)  # unwraps a partial, whose repr would contain a memory address
    label = schedule if isinstance(schedule, str) else getattr(function, "__name__", type(function).__name__)
    how = {"scorer": repr(scorer), "iterations": int(iterations), "schedule": label, "scope": scope, "mode": mode}
    if counts != "nearest":
        how["counts"] = counts
    return {**how, "sparsity": float(sparsity)}


def checked(scores: Any, weights: Tensors) -> Tensors:
    """Detach the scores; raise an InputError if any is missing, has the wrong type or shape, or is not finite."""
    if not isinstance(scores, Mapping):
        why = "a scorer must return a dictionary with one score tensor for each weight name"
        raise InputError("scorer", type(scores).__name__, why)
    if scores.keys() != weights.keys():
        odd = sorted(scores.keys() ^ weights.keys())
        raise InputError("scorer", odd[0], "a scorer must return one score tensor for each prunable weight")
    for name, score in scores.items():
        if not isinstance(score, Tensor) or score.dtype == torch.bool or score.is_complex():
            found = str(score.dtype) if isinstance(score, Tensor) else type(score).__name__
            raise InputError("scorer", name, f"scores are {found}; a scorer must return tensors of real numbers")
        if score.shape != weights[name].shape:
            raise InputError("scorer", name, f"scores {tuple(score.shape)} for weights {tuple(weights[name].shape)}")
    # A sum is finite only if all its terms are. It can also overflow, so only then each element is checked.
    if not torch.stack([score.sum() for score in scores.values()]).isfinite().all():
        for name, score in scores.items():
            if not score.isfinite().all():
                how = "not finite; try dtype=torch.float64 or look at the net's initialisation"
                raise InputError("scores", name, how)
    return {name: score.detach() for name, score in scores.items()}


def check_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Refuse weights that have no data, are not real numbers or cannot be trained; warn of computed weights."""
    check_numbers(weights)
    for name, weight in weights.items():
        if weight.is_inference():
            raise InputError("model", name, "was made in torch.inference_mode; allowed: weights that can be trained")
    computed = [name for name, module in model.named_modules() if has_computed_weight(module)]
    if computed:
        why = "is computed from other parameters (weight norm, parametrisation, torch.nn.utils.prune)"
        warnings.warn(f"left dense, because its weight {why}: {', '.join(computed)}", stacklevel=3)


def check_numbers(weights: Mapping[str, Tensor]) -> None:
    """Refuse weights that have no data or are not real numbers."""
    for name, weight in weights.items():
        if weight.is_meta or not weight.is_floating_point():
            raise InputError("model", name, f"is {weight.dtype} on {weight.device}; allowed: real numbers in memory")


def _warn_of_zeros(weights: Mapping[str, Tensor], masks: Tensors, device: torch.device) -> None:
    """Warn if the net seems to be pruned already: zeros count as weights unless the masks prune them."""
    partly = [
        ((w == 0) & masks[name].to(w.device)).sum().to(device) * w.any().to(device) for name, w in weights.items()
    ]
    zeros = int(torch.stack(partly).sum())
    if zeros > 0.01 * sum(w.numel() for w in weights.values()):
        why = (
            "are 0 already and count as not pruned; if they were pruned before, give masks= with False for each of them"
        )
        warnings.warn(f"{zeros:,} weights {why}", stacklevel=4)


def warn_if_starved(keep: int, layers: int) -> None:
    """Warn if there are fewer weights to keep than layers."""
    if keep < layers:
        warnings.warn(f"sparsity leaves {keep} weights for {layers} layers: some layers must be empty", stacklevel=4)
