"""Connectivity: how many weights of each layer lie on a path from input to output, and the effective sparsity."""

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from prune_init.errors import fits
from prune_init.pruning.checks import check_batch, check_numbers, parameter_masks
from prune_init.pruning.masks import Tensors
from prune_init.pruning.paths.effective_weights import effective_weights
from prune_init.pruning.structures import leaves as leaves_of
from prune_init.pruning.weights import prunable_by_default


@dataclass(frozen=True)
class Layer:
    """One prunable tensor: how many of its `size` weights are `kept`, and how many of those are `effective`.

    `effective` counts the weights on a path from input to output; None if paths could not be followed.
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
        """The fields and the density as plain values."""
        return {**asdict(self), "shape": list(self.shape), "density": self.density}


@dataclass(frozen=True)
class Connectivity:
    """One `Layer` per prunable tensor, in order, and the totals over all of them."""

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


def connectivity(model: nn.Module, example_input: Any, *, masks: Tensors | None = None) -> Connectivity:
    """Kept and effective weights per layer of a pruned model (Vysogorets and Kempe 2023, effective sparsity).

    Args:
        model: any module built of known operations.
        example_input: a batch of the model's input, (N, C, H, W); or a tuple, list or dict of tensors, which are its
            arguments if its forward can be called so. Only the shapes of floating-point tensors matter; paths begin at
            these, and where an embedding reads whole numbers, such as token ids.
        masks: boolean tensors by parameter name, True = kept; default: a prunable weight is pruned if it is 0.

    Returns:
        The number of weights, kept weights and weights on a path by layer; sparsities as fractions of all of them.

    Raises:
        InputError: the model cannot be run on such an input, or a mask does not fit.
        UnsupportedOperationError: the model uses an operation whose effect on paths is not known.
    """
    tensors = leaves_of(example_input)
    for tensor in tensors or [example_input]:
        check_batch("example_input", tensor)
    check_numbers(prunable_by_default(model))
    masks = parameter_masks(model, masks)
    shapes = [list(tensor.shape) for tensor in tensors]
    with fits(model, "example_input", shapes[0] if len(shapes) == 1 else shapes):
        return census(masks, effective_weights(model, masks, example_input))


def assess(
    model: nn.Module, masks: Tensors, input_shape: Sequence[int] | None, example_input: Any = None
) -> Connectivity:
    """Connectivity under these masks; paths are unknown without an input or, with a warning, on unknown operations."""
    if example_input is not None:
        key, value, example = "example_input", type(example_input).__name__, example_input
    elif input_shape is not None:
        key, value, example = "input_shape", str(input_shape), torch.empty((1, *input_shape))
    else:
        return census(masks, None)
    try:
        with fits(model, key, value):
            return census(masks, effective_weights(model, masks, example))
    except NotImplementedError as error:  # raised by path following or by torch itself
        warnings.warn(f"effective sparsity is unknown: {error}", stacklevel=3)
        return census(masks, None)


def census(masks: Tensors, effective: Tensors | None) -> Connectivity:
    """Count kept and effective weights per layer; `effective=None` means that paths are unknown."""
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
