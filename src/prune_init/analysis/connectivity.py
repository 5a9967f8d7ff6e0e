"""Which weights lie on a path from input to output, and what that makes of sparsity."""

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from prune_init.analysis.paths import PathMode, UnsupportedOperationError
from prune_init.errors import fits
from prune_init.pruning.checks import check_batch
from prune_init.pruning.masks import Tensors
from prune_init.pruning.weights import prunable


@dataclass(frozen=True)
class Layer:
    """One prunable tensor: how many of its `size` weights are `kept`, and how many of those are `effective`.

    `effective` counts the weights on a path from input to output; None where paths could not be followed.
    """

    name: str
    shape: tuple[int, ...]
    size: int
    kept: int
    effective: int | None

    @property
    def density(self) -> float:
        """Fraction of weights kept."""
        return self.kept / self.size

    def as_dict(self) -> dict[str, object]:
        """The row as plain values."""
        return {**asdict(self), "shape": list(self.shape), "density": self.density}


@dataclass(frozen=True)
class Connectivity:
    """One row per prunable tensor, in order, and their totals."""

    layers: list[Layer]

    @property
    def sparsity(self) -> float:
        """Fraction of prunable weights removed."""
        return 1 - sum(layer.kept for layer in self.layers) / sum(layer.size for layer in self.layers)

    @property
    def effective_sparsity(self) -> float | None:
        """Sparsity counted over weights that lie on a path from input to output; None if paths are unknown."""
        effective = [layer.effective for layer in self.layers if layer.effective is not None]
        if len(effective) < len(self.layers):
            return None
        return 1 - sum(effective) / sum(layer.size for layer in self.layers)

    @property
    def connected(self) -> bool | None:
        """Whether any path leads from input to output; None if paths are unknown."""
        return None if self.effective_sparsity is None else any(layer.effective for layer in self.layers)


def connectivity(model: nn.Module, example_input: Tensor) -> Connectivity:
    """Effective sparsity per layer of a pruned model (Vysogorets and Kempe 2023): its zero weights are the pruned ones.

    Args:
        model: any module built of known operations.
        example_input: a batch of the model's input, (N, C, H, W); only its shape matters.

    Returns:
        Counts of weights, kept and on a path, by layer; sparsities as fractions of the prunable weights.

    Raises:
        InputError: the model cannot be run on such an input.
        UnsupportedOperationError: the model uses an operation whose effect on paths is not known.
    """
    check_batch("example_input", example_input)
    masks = {name: weight.detach() != 0 for name, weight in prunable(model).items()}
    with fits(model, "example_input", list(example_input.shape)):
        return census(masks, effective_weights(model, masks, example_input))


def assess(model: nn.Module, masks: Tensors, input_shape: Sequence[int] | None) -> Connectivity:
    """Rows for these masks; paths stay unknown, with a warning, where the model cannot be followed."""
    if input_shape is None:
        return census(masks, None)
    try:
        with fits(model, "input_shape", input_shape):
            return census(masks, effective_weights(model, masks, torch.empty((1, *input_shape))))
    except UnsupportedOperationError as error:
        warnings.warn(f"effective sparsity is unknown: {error}", stacklevel=3)
        return census(masks, None)


def census(masks: Tensors, effective: Tensors | None) -> Connectivity:
    """Count kept and effective weights per layer; `effective=None` says that paths are unknown."""
    return Connectivity(
        [
            Layer(
                name=name,
                shape=tuple(mask.shape),
                size=mask.numel(),
                kept=int(mask.sum()),
                effective=None if effective is None else int(effective[name].sum()),
            )
            for name, mask in masks.items()
        ]
    )


def effective_weights(model: nn.Module, masks: Tensors, example_input: Tensor) -> Tensors:
    """The kept weights that lie on a path from input to output (Vysogorets and Kempe 2023, effective sparsity).

    A weight is on a path when the input reaches one of the elements it reads and one of the elements it writes
    reaches the output. Weights that no mask names count as kept. A kernel tap that only ever sees padding is on no
    path. Exact for every net of known operations; the model is only read.

    Raises:
        UnsupportedOperationError: see `connectivity`.
    """
    every = prunable(model)
    device = next(iter(every.values())).device
    leaves = {
        name: masks[name].to(device, torch.float32) if name in masks else torch.ones_like(w, dtype=torch.float32)
        for name, w in every.items()
    }
    constants = dict(model.named_parameters()) | dict(model.named_buffers())
    # In the leaves' type: a sum of both must not be promoted to the model's own.
    silent = {
        name: torch.zeros_like(c, dtype=torch.float32 if c.is_floating_point() else None)
        for name, c in constants.items()
        if name not in leaves
    }
    with torch.enable_grad():
        leaves = {name: leaf.requires_grad_() for name, leaf in leaves.items()}
        x = torch.ones(example_input.shape, device=device, requires_grad=True)
        with PathMode():
            output = functional_call(model, {**silent, **leaves}, (x,))
        if not isinstance(output, Tensor):
            raise UnsupportedOperationError(f"{type(model).__name__} returns {type(output).__name__}, not a tensor")
        reached = torch.autograd.grad(output.sum(), list(leaves.values()), materialize_grads=True)
    found = {name: (gradient > 0) for name, gradient in zip(leaves, reached, strict=True)}
    return {name: found[name] & mask.to(device) for name, mask in masks.items()}
