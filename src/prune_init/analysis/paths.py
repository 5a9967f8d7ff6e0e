"""Run a net in the semiring of paths: a value is 1 where some path from the input arrives, else 0.

Every operation is replaced by what it does to paths while the model's own `forward` runs, so nothing is traced and
control flow does not matter. Weights become their masks, activations and norms the identity, pooling a sum. After
each operation values and, in the backward pass, gradients return to 0 or 1: nothing overflows, and sums of
non-negative numbers cannot cancel, so the answer is exact at every position, padding included.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


class UnsupportedOperationError(NotImplementedError):
    """The net uses an operation whose effect on paths is not known; it is named, not guessed at."""


class _Reached(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return (grads[0] > 0).to(grads[0].dtype)


class PathMode(TorchFunctionMode):
    """Inside this context torch functions compute reachability. Tensors on a path are those that require gradients."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", str(func)).strip("_")  # relu_, __iadd__ and _max_pool2d are no different here
        if not any(_on_path(a) for a in (*args, *kwargs.values())):
            return func(*args, **kwargs)
        if name in _RULES:
            return _RULES[name](*args, **kwargs)
        if name in _POINTWISE:
            return args[0] if args else kwargs["input"]
        if name in _MOVES:
            return func(*args, **kwargs)
        raise UnsupportedOperationError(f"the effect of {name} on paths is not known")


def _on_path(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(_on_path(v) for v in value)
    return isinstance(value, Tensor) and value.requires_grad


def _reached(x: Tensor) -> Tensor:
    return _Reached.apply(x)


def _convolution(convolve: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def rule(input: Tensor, weight: Tensor, bias: Tensor | None = None, *args: Any, **kwargs: Any) -> Tensor:
        return _reached(convolve(input, weight, None, *args, **kwargs))

    return rule


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return _reached(F.linear(input, weight))


def _union(a: Any, b: Any, **_: Any) -> Tensor:
    """A path through either operand; constants carry none, but may widen the shape."""
    parts = [x if _on_path(x) else torch.zeros_like(x) for x in (a, b) if isinstance(x, Tensor)]
    return _reached(sum(parts[1:], parts[0]))


def _product(a: Tensor, b: Tensor) -> Tensor:
    return _reached(torch.matmul(a, b))


def _summed(reduce: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda *args, **kwargs: _reached(reduce(*args, **kwargs))


def _max_pool(pool: Callable[..., Tensor], axes: int) -> Callable[..., Tensor]:
    def rule(
        input: Tensor,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> Tensor:
        if dilation not in (1, (1,) * axes, [1] * axes) or return_indices:
            raise UnsupportedOperationError("max pooling with dilation or indices has no rule for paths")
        return _reached(pool(input, kernel_size, stride, padding, ceil_mode))

    return rule


def _attention(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> Tensor:
    """Every output token sees every value token, and depends on its query and all keys."""
    seen = value.sum(-2, keepdim=True) + key.sum((-2, -1), keepdim=True)
    return _reached(query.sum(-1, keepdim=True) + seen)


_RULES: dict[str, Callable[..., Any]] = {
    **{f"conv{d}d": _convolution(getattr(F, f"conv{d}d")) for d in (1, 2, 3)},
    **{f"conv_transpose{d}d": _convolution(getattr(F, f"conv_transpose{d}d")) for d in (1, 2, 3)},
    "linear": _linear,
    "matmul": _product,
    "bmm": _product,
    **dict.fromkeys(("add", "radd", "iadd", "sub", "rsub", "isub", "mul", "rmul", "imul", "div", "truediv"), _union),
    **{f"max_pool{d}d": _max_pool(getattr(F, f"avg_pool{d}d"), d) for d in (1, 2, 3)},
    **{f"avg_pool{d}d": _summed(getattr(F, f"avg_pool{d}d")) for d in (1, 2, 3)},
    **{f"adaptive_avg_pool{d}d": _summed(getattr(F, f"adaptive_avg_pool{d}d")) for d in (1, 2, 3)},
    **{f"adaptive_max_pool{d}d": _summed(getattr(F, f"adaptive_avg_pool{d}d")) for d in (1, 2, 3)},
    "mean": _summed(torch.mean),
    "sum": _summed(torch.sum),
    "amax": _summed(torch.sum),
    "index_add": lambda x, dim, index, part: _reached(torch.index_add(x, dim, index, part)),
    "scaled_dot_product_attention": _attention,
}

# Each output element depends on the input element in the same place. Norms also depend on statistics of their
# neighbours; those are not counted as paths, since no weight of a neighbour's can be told apart in them.
_POINTWISE = frozenset(
    """relu relu6 leaky_relu prelu elu selu celu gelu silu mish hardswish hardsigmoid hardtanh sigmoid tanh softplus
    softsign threshold softmax log_softmax clamp clamp_min clamp_max abs square sqrt pow exp neg batch_norm layer_norm
    group_norm instance_norm rms_norm local_response_norm normalize dropout dropout1d dropout2d dropout3d
    feature_dropout alpha_dropout float double to type_as detach""".split()
)

# These only move elements, or ask for their shape.
_MOVES = frozenset(
    """view reshape flatten unflatten permute transpose t T mT movedim swapaxes squeeze unsqueeze expand expand_as
    repeat repeat_interleave index_select cat concat stack split split_with_sizes chunk unbind getitem narrow select pad
    contiguous clone constant_pad_nd roll flip pixel_shuffle pixel_unshuffle channel_shuffle unfold get size dim numel
    stride is_floating_point is_complex type device requires_grad item len shape storage_offset""".split()
)
