"""An independent test of paths: a weight is on one if the output's gradient by it changes with the size of the input.

With positive parameters and inputs nothing cancels. The nets are piecewise linear after each weight, so that nothing
else changes the gradient.
"""

import copy

import torch
from torch.func import functional_call

from prune_init.pruning.structures import arguments, leaves, mapped
from prune_init.pruning.weights import prunable


def random_masks(model, density, seed):
    draw = torch.Generator().manual_seed(seed)
    return {n: torch.rand(w.shape, generator=draw) < density for n, w in prunable(model).items()}


def by_gradient(model, masks, x):
    """Kept weights whose gradient depends on the input, in the same net with positive random parameters."""
    one, other = gradients(model, masks, x, 1.0), gradients(model, masks, x, 1.5)
    return {n: ((one[n] - other[n]).abs() > 1e-9) & masks[n] for n in masks}


def gradients(model, masks, x, size):
    draw = torch.Generator().manual_seed(1)

    def positive(t):
        return torch.rand(t.shape, generator=draw, dtype=torch.float64) * 0.5 + 0.2

    model = copy.deepcopy(model).double().eval()
    given = {n: positive(p) for n, p in model.named_parameters()}
    given = {n: (p * masks[n] if n in masks else p).requires_grad_() for n, p in given.items()}
    args, kwargs = arguments(model, mapped(lambda t: size * positive(t) if t.is_floating_point() else t, x))
    outputs = leaves(functional_call(model, {k: v.clone() for k, v in given.items()}, args, kwargs))
    total = sum((y * positive(y)).sum() for y in outputs)
    found = torch.autograd.grad(total, [given[n] for n in masks], materialize_grads=True)
    return dict(zip(masks, found, strict=True))
