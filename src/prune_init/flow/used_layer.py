"""Uses of layers, whether module or function: each a linear map of channels with its own copy of weight and bias."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from prune_init.pruning import operations
from prune_init.pruning.behaviour import Channels, Operation, Paths
from prune_init.pruning.masks import Tensors


@dataclass(frozen=True, eq=False)
class Normalisation:
    """The normalisation of a batch norm: by stored mean and variance, or by the batch's own if these are None."""

    mean: Tensor | None
    var: Tensor | None
    eps: float

    def __call__(self, input: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """The normalised input, scaled and shifted."""
        return F.batch_norm(input, self.mean, self.var, weight, bias, training=self.mean is None, eps=self.eps)


@dataclass(frozen=True, eq=False)
class UsedLayer:
    """One use of a layer.

    Attributes:
        call: maps (input=, weight=, bias=) to the output; `bias` is absent if the layer has none.
        own: its weight and bias as leaf tensors of this use, to differentiate by.
        axis: the channel axis of input and output.
        groups: the number of groups of a convolution.
        transposed: whether the first axis of the weight is that of input channels.
        norm: the normalisation of a batch norm; None for other layers.
    """

    call: Callable[..., Tensor]
    own: Tensors
    axis: int = 1
    groups: int = 1
    transposed: bool = False
    norm: Normalisation | None = None


def of_norm(module: Any, tensors: Tensors, x: Tensor) -> UsedLayer:
    """A use of the batch norm `module` on x, with `tensors` as its parameters and buffers."""
    stored = None if module.training else tensors.get("running_mean")
    own = {name: tensors[name] for name, _ in module.named_parameters()}
    return _norm(own, stored, tensors.get("running_var"), module.eps, x)


def of_module(module: nn.Module, tensors: Tensors, x: Tensor, *others: Any, **named: Any) -> UsedLayer | None:
    """A use of the linear map or convolution in `module`, with the weight that it computes if it has none of its own.

    None if `module` calls no such function, or several.
    """

    def run(input: Tensor, calls: "_LayerCalls") -> Tensor:
        own = {name: t.clone() for name, t in tensors.items()}  # spectral norm writes to its buffers at each call
        with calls:
            output: Tensor = functional_call(module, own, (input, *others), named)
        return output

    run(x, seen := _LayerCalls({}))
    if len(seen.given) != 1:
        return None
    operation, function, given = seen.given[0]
    return replace(of_function(operation, function, given), call=lambda input, **own: run(input, _LayerCalls(own)))


def of_function(operation: Operation, function: Callable[..., Tensor], given: Mapping[str, Any]) -> UsedLayer:
    """A use of the layer that a call of `function` with the arguments `given` amounts to."""
    own = {key: given[key] for key in ("weight", "bias") if given.get(key) is not None}
    if operation.channels is Channels.BATCH_NORM:
        stored = None if given.get("training", False) else given["running_mean"]
        return _norm(own, stored, given["running_var"], given.get("eps", 1e-5), given["input"])

    def call(**own: Tensor) -> Tensor:
        return function(**{**given, **own})

    axis = 1 - given["weight"].ndim
    transposed = operation.paths is Paths.TRANSPOSED_CONVOLUTION
    return UsedLayer(call, _leaves(own), axis, groups=given.get("groups", 1), transposed=transposed)


class _LayerCalls(TorchFunctionMode):
    """Collects the calls of linear maps and convolutions, and gives them `own` as their weight and bias."""

    def __init__(self, own: Tensors) -> None:
        super().__init__()
        self._own = own
        self.given: list[tuple[Operation, Callable[..., Tensor], dict[str, Any]]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = operations.lookup(func)
        if found is None or found.channels is not Channels.LAYER:
            return func(*args, **(kwargs or {}))
        self.given.append((found, func, found.bound(args, kwargs or {}) | self._own))
        return func(**self.given[-1][2])


def _norm(own: Tensors, mean: Tensor | None, var: Tensor | None, eps: float, x: Tensor) -> UsedLayer:
    """A use of a batch norm; without parameters it has gamma = 1 and beta = 0."""
    unit = {"weight": x.new_ones(x.shape[1]), "bias": x.new_zeros(x.shape[1])}
    norm = Normalisation(mean, None if mean is None else var, eps)
    return UsedLayer(norm, _leaves(unit | own), norm=norm)


def _leaves(own: Tensors) -> Tensors:
    return {name: tensor.detach().to(torch.float64, copy=True).requires_grad_() for name, tensor in own.items()}
