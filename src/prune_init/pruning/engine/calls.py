"""Convolutions and linear layers that multiply only by the remaining weights."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from prune_init.pruning.engine import equivalence
from prune_init.pruning.engine.equivalence import PositionClasses
from prune_init.pruning.engine.live import LiveWeight, Product
from prune_init.pruning.masks import Tensors


class LiveCalls(TorchFunctionMode):
    """While this mode is active, convolutions and linear layers whose weight is one of `tensors` use its small tensor.

    A weight that the net uses in any other way is never narrowed to fewer channels, and its tensor is differentiable.

    Args:
        live: the remaining part of each weight.
        entries: for each weight the vector of its remaining entries, to differentiate by.

    Attributes:
        tensors: the tensors to pass to the net as its weights.
    """

    def __init__(self, live: Mapping[str, LiveWeight], entries: Tensors) -> None:
        super().__init__()
        self.tensors = {name: _stand_in(weight, entries[name]) for name, weight in live.items()}
        self._known = {id(self.tensors[name]): (weight, entries[name]) for name, weight in live.items()}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Handle a call of a torch function."""
        kwargs = kwargs or {}
        classes = equivalence.after(func, args, kwargs)
        result = self._result(func, args, kwargs, classes)
        return result if classes is None else equivalence.note(result, classes)

    def _result(self, func: Any, args: Any, kwargs: Any, classes: PositionClasses | None) -> Any:
        if func in _LAYERS and len(args) > 1 and id(args[1]) in self._known:
            weight, entries = self._known[id(args[1])]
            product = _Multiplication(weight, entries, classes)
            result = _LAYERS[func](func, product, args[0], *args[2:], **kwargs)
            if result is not None:
                weight.multiplied = True
                return result
        self._note_other_uses((*args, *kwargs.values()))
        return func(*args, **kwargs)

    def _note_other_uses(self, values: Iterable[Any]) -> None:
        for value in values:
            if isinstance(value, (list, tuple)):
                self._note_other_uses(value)
            elif id(value) in self._known:
                self._known[id(value)][0].used_otherwise = True


class _Multiplication:
    """Multiplication by one weight, by `Product` where torch has nothing faster: for one example in float64."""

    def __init__(self, weight: LiveWeight, entries: Tensor, classes: PositionClasses | None) -> None:
        self.weight, self.entries, self.classes = weight, entries, classes

    def of_columns(self, x: Tensor, axis: int) -> Tensor:
        """The channels of x that the small tensor has columns for."""
        return x if self.weight.columns is None else x.index_select(axis, self.weight.columns)

    def to_rows(self, y: Tensor, bias: Tensor | None, axis: int) -> Tensor:
        """Expand y to all output channels, with 0 in missing ones, and add the bias; y itself if none is missing."""
        if self.weight.rows is None:
            return y
        shape = list(y.shape)
        shape[axis] = self.weight.shape[0]
        y = y.new_zeros(shape).index_copy(axis, self.weight.rows, y)
        return y if bias is None else y + bias.view(-1, *[1] * (y.ndim - axis - 1 if axis >= 0 else 0))

    def inside(self, bias: Tensor | None) -> Tensor | None:
        """The bias to pass to torch's function: only with all output channels present; else `to_rows` adds it."""
        return bias if self.weight.rows is None else None

    def is_own(self, x: Tensor) -> bool:
        """Whether `own`, rather than torch, multiplies by x."""
        return x.shape[0] == 1 and x.dtype == torch.float64

    def own(self, x: Tensor) -> Tensor:
        """The product of the matrix and x."""
        return Product.apply(self.entries, x, self.weight)


def _convolution(
    func: Any, product: _Multiplication, x: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1, groups: int = 1,
) -> Tensor | None:  # fmt: skip
    if groups != 1 or x.ndim != len(product.weight.shape):
        return None
    x = product.of_columns(x, 1)
    if func is torch.conv2d and product.is_own(x) and not isinstance(padding, str):
        y = _convolution_as_product(product, x, *(equivalence.pair(value) for value in (stride, padding, dilation)))
        if product.weight.rows is None and bias is not None:
            y = y + bias.view(-1, 1, 1)
    else:
        tensor = product.weight.tensor(product.entries)
        y = func(x, tensor, product.inside(bias), stride, padding, dilation)
    return product.to_rows(y, bias, 1)


def _convolution_as_product(product: _Multiplication, x: Tensor, stride: Any, padding: Any, dilation: Any) -> Tensor:
    window = product.weight.shape[2:]
    ways = list(zip(x.shape[2:], window, stride, padding, dilation, strict=True))
    if product.classes is not None and product.classes.is_worth_it():
        classes = zip(product.classes, ways, strict=True)
        rows, columns = (equivalence.representatives(one, *way) for one, way in classes)
        y = product.own(equivalence.patches(x.squeeze(0), rows, columns))
        return equivalence.everywhere(y, rows, columns)[None]
    size = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in ways]
    # squeeze, not indexing: the gradient of indexing would be a copy of the whole tensor.
    return product.own(F.unfold(x, window, dilation, padding, stride).squeeze(0)).view(1, -1, *size)


def _linear(func: Any, product: _Multiplication, x: Tensor, bias: Tensor | None = None) -> Tensor:
    x = product.of_columns(x, -1)
    if product.is_own(x):
        y = product.own(x.reshape(-1, x.shape[-1]).t()).t().reshape(*x.shape[:-1], -1)
        y = y if bias is None or product.weight.rows is not None else y + bias
    else:
        y = func(x, product.weight.tensor(product.entries), product.inside(bias))
    return product.to_rows(y, bias, -1)


_LAYERS: dict[Any, Callable[..., Tensor | None]] = {
    torch.conv1d: _convolution,
    torch.conv2d: _convolution,
    torch.conv3d: _convolution,
    F.linear: _linear,
}


def _stand_in(weight: LiveWeight, entries: Tensor) -> Tensor:
    if weight.rows is None:
        return weight.tensor(entries)
    # An expanded NaN takes no memory, and if the net uses it in a new way, the scores are not finite and are refused.
    return entries.detach().new_full((), torch.nan).expand(weight.shape)
