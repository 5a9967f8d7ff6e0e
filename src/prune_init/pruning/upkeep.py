"""Keeping masks in force during training: pruned weights stay at exactly 0.0."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn.parameter import Parameter
from torch.utils.hooks import RemovableHandle

from prune_init.errors import InputError
from prune_init.pruning import masks as masking
from prune_init.pruning.checks import named_masks
from prune_init.pruning.masks import Tensors
from prune_init.pruning.overlap import check_memory
from prune_init.pruning.weights import inside


def apply_masks(model: nn.Module, masks: Tensors) -> None:
    """Set the pruned weights of `model` to exactly 0.0, in place; nothing is scored and nothing else is changed.

    Args:
        model: any module that has the parameters named by the masks.
        masks: boolean tensors by parameter name, True = kept, such as `PruneResult.masks` or from `load_masks`.

    Raises:
        InputError: `model` has no parameter of a mask's name and shape, or a mask is not boolean.
    """
    weights, known = _fitted(model, masks)
    masking.apply(known, weights)


def keep(model: nn.Module, masks: Tensors, optimizer: torch.optim.Optimizer) -> tuple[RemovableHandle, ...]:
    """Apply the masks, and make every later `optimizer.step()` end with the pruned weights at exactly 0.0.

    Gradients of pruned weights are set to 0 as soon as they are computed, so that they count neither in gradient
    clipping nor in momentum: the trajectory is the same as with masks applied in the forward pass.

    Args:
        model: the net that `optimizer` trains.
        masks: as for `apply_masks`.
        optimizer: an optimiser of parameters of `model`.

    Returns:
        The handles of the hooks; `handle.remove()` on each of them ends the effect.

    Raises:
        InputError: a mask that does not fit, or an optimiser of another net.
    """
    weights, known = _fitted(model, masks)
    handles = hold(model, weights, known, optimizer)
    masking.apply(known, weights)
    return handles


def hold(
    model: nn.Module, weights: Mapping[str, Tensor], masks: Tensors, optimizer: torch.optim.Optimizer
) -> tuple[RemovableHandle, ...]:
    """Register the hooks of `keep` on these weights of `model` and the optimiser, without setting any weight."""
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise InputError("optimizer", type(optimizer).__name__, "allowed: a torch.optim.Optimizer")
    trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
    if not any(id(weight) in trained for weight in weights.values()):
        why = "has none of the pruned net's weights; for another net use prune_init.keep(model, masks, optimizer)"
        raise InputError("optimizer", type(optimizer).__name__, why)
    check_eps("optimizer", optimizer)

    factors = Factors(weights, masks)
    hooks = [w.register_hook(factors.hook(name)) for name, w in weights.items() if w.requires_grad]
    before = optimizer.register_step_pre_hook(lambda *_: factors.clear_gradients())
    after = optimizer.register_step_post_hook(lambda *_: factors.clear_weights())
    return *hooks, before, after, optimizer.register_step_pre_hook(_Owned(inside(model), weights))


def check_eps(key: str, optimizer: torch.optim.Optimizer) -> None:
    """Refuse eps=0, with which Adam and others divide 0 by 0 for a pruned weight, as its gradients are all 0."""
    if any(group.get("eps") == 0 for group in optimizer.param_groups):
        why = "makes pruned weights NaN (0 / 0, as their gradients are 0); allowed: eps above 0"
        raise InputError(key, f"{type(optimizer).__name__}(eps=0)", why)


class Factors:
    """Masks as tensors of 0 and 1 with the weights' devices, dtypes and memory formats, for multiplication in one call.

    Args:
        weights: parameters by name.
        masks: boolean tensors by the same names. In-place changes to them take effect.
    """

    def __init__(self, weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> None:
        self._weights, self._masks = weights, masks
        self._made: dict[str, tuple[Tensor, Tensor, tuple[object, ...]]] = {}

    def of(self, name: str) -> Tensor:
        """1 for kept weights, 0 for pruned ones; remade if the mask or the weight's device, dtype or format changed."""
        weight, mask = self._weights[name], self._masks[name]
        state = (weight.device, weight.dtype, weight.stride(), None if mask.is_inference() else mask._version)
        made = self._made.get(name)
        if made is None or made[1] is not mask or made[2] != state:
            with torch.inference_mode(False):
                factor = torch.empty_like(weight, requires_grad=False).copy_(mask.clone())
            made = self._made[name] = factor, mask, state
        return made[0]

    def hook(self, name: str) -> Callable[[Tensor], Tensor]:
        """A gradient hook for this weight: sets the gradient of pruned weights to 0, even where it is NaN."""
        return lambda gradient: _cleared(gradient, self.of(name) == 0)

    @torch.no_grad()
    def clear_gradients(self) -> None:
        """Set the gradients of pruned weights to 0; called before clipping, so that they do not count in the norm."""
        given = {name: weight.grad for name, weight in self._weights.items() if weight.grad is not None}
        gradients = {name: gradient for name, gradient in given.items() if not gradient.is_sparse}
        for name in given.keys() - gradients.keys():
            self._weights[name].grad = _cleared(given[name], self.of(name) == 0)
        if gradients:
            torch._foreach_mul_(list(gradients.values()), [self.of(name) for name in gradients])

    @torch.no_grad()
    def clear_weights(self) -> None:
        """Set pruned weights to 0.0; called after the step, as the optimiser may have moved them."""
        torch._foreach_mul_(list(self._weights.values()), [self.of(name) for name in self._weights])


def _cleared(gradient: Tensor, pruned: Tensor) -> Tensor:
    """The gradient with 0 where `pruned`; that of `nn.Embedding(sparse=True)` stays sparse."""
    if not gradient.is_sparse:
        return gradient.masked_fill(pruned, 0.0)
    gradient = gradient.coalesce()
    places = gradient.indices()
    values = gradient.values().masked_fill(pruned[tuple(places)], 0.0)
    return torch.sparse_coo_tensor(places, values, gradient.shape, check_invariants=False, is_coalesced=True)


class _Owned:
    """A pre-step hook that refuses a net whose weights were replaced, as `load_state_dict(assign=True)` does."""

    def __init__(self, model: nn.Module, weights: Mapping[str, Tensor]) -> None:
        paths = {name: name.rpartition(".") for name in weights}
        self.owners = [(model.get_submodule(path), last, weights[name]) for name, (path, _, last) in paths.items()]

    def __call__(self, *_: object) -> None:
        for module, name, weight in self.owners:
            if module._parameters.get(name) is not weight:
                why = "is another tensor now (load_state_dict(assign=True)?); call prune_init.keep again"
                raise InputError("model", f"{type(module).__name__}.{name}", why)


def _fitted(model: nn.Module, masks: Tensors) -> tuple[dict[str, Parameter], Tensors]:
    """The parameters that are masked, and the masks, under the model's own names."""
    every = dict(inside(model).named_parameters())
    known = named_masks(masks, every, "parameter")
    check_memory(inside(model), known)
    return {name: every[name] for name in known}, known
