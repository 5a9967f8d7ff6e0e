"""Which weights lie on a path from input to output, and what that makes of sparsity."""

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from prune_init.analysis.path_kinds import Kind, Kinds, UnsupportedOperationError
from prune_init.analysis.paths import followed
from prune_init.analysis.read_only import only_read
from prune_init.errors import first_line, fits
from prune_init.pruning.checks import check_batch
from prune_init.pruning.masks import Tensors
from prune_init.pruning.plain_run import plainly
from prune_init.pruning.structures import arguments, mapped
from prune_init.pruning.structures import leaves as leaves_of
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


def connectivity(model: nn.Module, example_input: Any) -> Connectivity:
    """Effective sparsity per layer of a pruned model (Vysogorets and Kempe 2023): its zero weights are the pruned ones.

    Args:
        model: any module built of known operations.
        example_input: a batch of the model's input, (N, C, H, W); or a tuple, list or dict of tensors, which are its
            arguments if its forward can be called so. Only the shapes of floating-point tensors matter; paths begin at
            these, and where an embedding reads whole numbers, such as token ids.

    Returns:
        Counts of weights, kept and on a path, by layer; sparsities as fractions of the prunable weights.

    Raises:
        InputError: the model cannot be run on such an input.
        UnsupportedOperationError: the model uses an operation whose effect on paths is not known.
    """
    tensors = leaves_of(example_input)
    for tensor in tensors or [example_input]:
        check_batch("example_input", tensor)
    masks = {name: weight.detach() != 0 for name, weight in prunable(model).items()}
    shapes = [list(tensor.shape) for tensor in tensors]
    with fits(model, "example_input", shapes[0] if len(shapes) == 1 else shapes):
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


def effective_weights(model: nn.Module, masks: Tensors, example_input: Any) -> Tensors:
    """The kept weights that lie on a path from input to output (Vysogorets and Kempe 2023, effective sparsity).

    A weight is on a path when the input reaches one of the elements it reads and one of the elements it writes
    reaches the output. Weights that no mask names count as kept. A kernel tap that only ever sees padding is on no
    path. Exact for every net of known operations; the model is only read.

    Raises:
        UnsupportedOperationError: see `connectivity`.
    """
    every = prunable(model) | {name: weight for name, weight in model.named_parameters() if name in masks}
    kinds = Kinds()
    with torch.enable_grad(), plainly(model), only_read(model):
        leaves = {
            name: (masks[name].to(w.device, w.dtype) if name in masks else torch.ones_like(w)).detach().requires_grad_()
            for name, w in every.items()
        }
        # Copies that forward may write to; the weights are no leaves, for the same reason.
        given = {**_constants(model, leaves), **{name: leaf.clone() for name, leaf in leaves.items()}}
        x = mapped(partial(_start, like=next(iter(every.values()))), example_input)
        kinds.mark(list(given.values()), Kind.CONSTANT)
        kinds.mark([given[name] for name in leaves], Kind.WEIGHT)
        for tensor in leaves_of(x):
            kinds.mark(tensor, Kind.PATH if tensor.is_floating_point() else Kind.CHOICE)
        args, kwargs = arguments(model, x)
        with followed(kinds):
            output = functional_call(model, given, args, kwargs)
        found = _on_paths(model, kinds, output, leaves)
    return {name: found[name] & mask.to(found[name].device) for name, mask in masks.items()}


def _start(x: Tensor, like: Tensor) -> Tensor:
    """Ones in the model's type of numbers; a copy of what are no real numbers, such as token ids."""
    if not x.is_floating_point():
        return x.detach().to(like.device, copy=True)
    return torch.ones(x.shape, dtype=like.dtype, device=like.device, requires_grad=True).clone()


def _constants(model: nn.Module, leaves: Tensors) -> Tensors:
    """Copies of all that is not pruned. Training moves parameters that are 0 or cancel now: they do neither here."""
    constants: Tensors = {name: buffer.detach().clone() for name, buffer in model.named_buffers()}
    draw = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if name in leaves:
            continue
        value = parameter.detach().clone()
        if parameter.requires_grad and parameter.is_floating_point():
            noise = torch.rand(value.shape, generator=draw).to(value)
            value = torch.where(value == 0, 0.1 + noise, value * (1 + 0.1 * noise))
        constants[name] = value
    return constants


def _on_paths(model: nn.Module, kinds: Kinds, output: Any, weights: Tensors) -> Tensors:
    """The weights whose pattern reaches an output."""
    ends = [y for y in leaves_of(output) if kinds.of(y) is Kind.PATH]
    if not ends:
        raise UnsupportedOperationError(f"nothing that {type(model).__name__} returns can be followed to its input")
    total = sum((y.float().sum() for y in ends), torch.zeros((), device=ends[0].device))
    try:
        gradients = torch.autograd.grad(total, list(weights.values()), materialize_grads=True)
    except RuntimeError as error:
        raise UnsupportedOperationError(f"a value was changed in place that paths need: {first_line(error)}") from error
    return {name: gradient > 0.5 for name, gradient in zip(weights, gradients, strict=True)}
