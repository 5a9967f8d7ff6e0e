"""The weights on a path from input to output, found by running the net in the semiring of paths and its gradient."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from prune_init.errors import first_line
from prune_init.host import with_float64
from prune_init.pruning.masks import Tensors
from prune_init.pruning.paths.kinds import Kind, Kinds, UnsupportedOperationError
from prune_init.pruning.paths.mode import followed
from prune_init.pruning.structures import arguments, mapped
from prune_init.pruning.structures import leaves as leaves_of
from prune_init.pruning.undisturbed import undisturbed
from prune_init.pruning.weights import inside, prunable_by_default


def effective_weights(model: nn.Module, masks: Tensors, example_input: Any) -> Tensors:
    """The kept weights that lie on a path from input to output (Vysogorets and Kempe 2023, effective sparsity).

    A weight is on a path if the input reaches an element that it multiplies and the product reaches the output.
    Weights without a mask count as kept. A kernel tap that only ever sees padding is on no path. The result is exact
    for every net of known operations; the model is only read.

    Raises:
        UnsupportedOperationError: see `connectivity`.
    """
    model = inside(model)
    every = prunable_by_default(model) | {name: weight for name, weight in model.named_parameters() if name in masks}
    kinds = Kinds()
    device = with_float64(next(iter(every.values())).device)
    with undisturbed(model, device, seed=0):
        leaves = {
            name: (masks[name].to(device, w.dtype) if name in masks else torch.ones_like(w, device=device))
            .detach()
            .requires_grad_()
            for name, w in every.items()
        }
        # The net gets copies, which forward may write to; it could not write to leaves that require gradients.
        given = {**_constants(model, leaves), **{name: leaf.clone() for name, leaf in leaves.items()}}
        x = mapped(partial(_start, like=next(iter(leaves.values()))), example_input)
        kinds.mark(list(given.values()), Kind.CONSTANT)
        kinds.mark([given[name] for name in leaves], Kind.WEIGHT)
        for tensor in leaves_of(x):
            kinds.mark(tensor, Kind.PATH if tensor.is_floating_point() else Kind.CHOICE)
        args, kwargs = arguments(model, x)
        try:
            with followed(kinds):
                output = functional_call(model, given, args, kwargs)
        except SystemError as error:  # torch's set_ wraps what is raised while it is followed
            raise error.__cause__ or error from None
        found = _on_paths(model, kinds, output, leaves)
    return {name: found[name] & mask.to(found[name].device) for name, mask in masks.items()}


def _start(x: Tensor, like: Tensor) -> Tensor:
    """Ones in the model's dtype for a floating-point input; a copy of any other, such as token ids."""
    if not x.is_floating_point():
        return x.detach().to(like.device, copy=True)
    return torch.ones(x.shape, dtype=like.dtype, device=like.device, requires_grad=True).clone()


def _constants(model: nn.Module, leaves: Tensors) -> Tensors:
    """Copies of all other tensors; trainable ones are perturbed, as training moves those that are 0 or cancel now."""
    device = next(iter(leaves.values())).device
    constants: Tensors = {name: buffer.detach().to(device, copy=True) for name, buffer in model.named_buffers()}
    draw = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if name in leaves:
            continue
        value = parameter.detach().to(device, copy=True)
        if parameter.requires_grad and parameter.is_floating_point():
            noise = torch.rand(value.shape, generator=draw, dtype=torch.float32, device="cpu").to(value)
            value = torch.where(value == 0, 0.1 + noise, value * (1 + 0.1 * noise))
        constants[name] = value
    return constants


def _on_paths(model: nn.Module, kinds: Kinds, output: Any, weights: Tensors) -> Tensors:
    """For each weight, whether its entry in the pattern reaches an output: whether its gradient is not 0."""
    ends = [y for y in leaves_of(output) if kinds.of(y) is Kind.PATH]
    if not ends:
        raise UnsupportedOperationError(f"no output of {type(model).__name__} can be traced back to its input")
    total = sum((y.float().sum() for y in ends), torch.zeros((), device=ends[0].device))
    try:
        gradients = torch.autograd.grad(total, list(weights.values()), materialize_grads=True)
    except RuntimeError as error:
        why = "a value needed to follow paths was changed in place"
        raise UnsupportedOperationError(f"{why}: {first_line(error)}") from error
    return {name: gradient > 0.5 for name, gradient in zip(weights, gradients, strict=True)}
