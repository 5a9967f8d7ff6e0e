"""A pretended CUDA device, for machines without one.

Inside `pretended`, tensors that are moved to `CUDA` report that device but keep their numbers on the CPU. Mixed with
CPU tensors or generators they raise errors as real ones do. Each wait of the host for the device is counted under the
operation that caused it. Control flow that depends on numbers runs as usual. A CUDA graph records operations with their
tensors, refuses to wait, and replays the operations on the same memory. Autocast, TF32, cuDNN, streams, memory and the
device's own random numbers are not simulated, and torch's C++ code sees the CPU as the device of a tensor.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

CUDA = torch.device("cuda", 0)


class Waits(Counter[str]):
    """Counts, by operation, how often the host waited for the device, which it may not while a graph is recorded."""

    def __setitem__(self, operation: str, count: int) -> None:
        if Graph.recording is not None:
            raise RuntimeError(f"CUDA error: operation not permitted when stream is capturing ({operation})")
        super().__setitem__(operation, count)


class Graph:
    """A CUDA graph: recorded operations with the tensors that they read and write."""

    recording: "Graph | None" = None

    def __init__(self) -> None:
        self.calls: list[tuple[Any, Any, Any, Any]] = []

    def replay(self) -> None:
        CALLS["replay"] += 1
        for func, args, kwargs, made in self.calls:
            for old, new in zip(tree_leaves(made), tree_leaves(func(*args, **kwargs)), strict=True):
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)

    def reset(self) -> None:
        self.calls.clear()


@contextmanager
def _recording(graph: Graph) -> Iterator[None]:
    Graph.recording = graph
    try:
        yield
    finally:
        Graph.recording = None


def _record(func: Any, args: Any, kwargs: Any, made: Any) -> Any:
    """Record a call if a graph is recorded; returns what was made."""
    if Graph.recording is not None:
        Graph.recording.calls.append((func, args, kwargs, made))
    return made


WAITS = Waits()
CALLS: Counter[str] = Counter()
"""How often the device was given an operation or a view, by operation."""

REFUSED: set[torch.dtype] = set()
"""Dtypes that the device does not support, as MPS has no float64."""

RESULT_IS_NEEDED = {
    *("_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim", "unique_consecutive"),
    *("equal", "is_nonzero", "bincount"),
}
"""Operations for which the host needs the result or its shape, so it waits for the device."""

INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_"}
NUMBERS_ALLOWED = {
    *("masked_fill", "masked_fill_", "fill", "fill_", "where", "clamp", "lerp", *INDEXING),
    *("_foreach_mul_", "_foreach_mul", "_foreach_add_", "_foreach_addcdiv_"),
}
"""Operations that accept scalar CPU tensors, besides all pointwise operations."""


class Pretended(torch.Tensor):
    """A tensor on the pretended device."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor, requires_grad: bool = False) -> "Pretended":
        if held.dtype in REFUSED:
            raise TypeError(f"the device has no {held.dtype}")
        like = {"strides": held.stride(), "storage_offset": held.storage_offset(), "dtype": held.dtype}
        made = torch.Tensor._make_wrapper_subclass(cls, held.shape, **like, device="cpu", requires_grad=requires_grad)
        made.held = held
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl
    device = property(lambda self: CUDA)
    is_cuda = property(lambda self: True)
    is_cpu = property(lambda self: False)

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        """This method must exist for `nn.Module.to` to replace parameters by tensors of this class."""
        return ["held"], None

    @staticmethod
    def __tensor_unflatten__(parts: dict[str, torch.Tensor], *_: Any) -> "Pretended":
        return Pretended(parts["held"])

    def __repr__(self, **_: Any) -> str:
        return f"Pretended({self.held})"

    def to(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        return moved(self, *args, **kwargs)

    def cpu(self) -> torch.Tensor:
        return moved(self, "cpu")

    def tolist(self) -> Any:
        WAITS["tolist"] += 1
        return self.held.tolist()

    def numpy(self, *_: Any, **__: Any) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    def __reduce_ex__(self, protocol: Any) -> Any:
        WAITS["saving"] += 1
        return self.held.__reduce_ex__(protocol)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Pretended":
        if id(self) not in memo:
            memo[id(self)] = Pretended(self.held.clone()).requires_grad_(self.requires_grad)
            if getattr(self, "_is_param", False):
                memo[id(self)]._is_param = True
        return memo[id(self)]

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = dict(kwargs or {}), func._overloadpacket.__name__
        CALLS[name] += 1
        if name == "_to_copy":
            kwargs.pop("device", None)
        elif name == "copy_":
            return _written(*args[:2])
        else:
            _refuse_mixture(func, args, kwargs)
        by_mask = name in INDEXING and any(i is not None and i.dtype == torch.bool for i in args[1])
        if name in RESULT_IS_NEEDED or by_mask:
            WAITS[name] += 1
        if name in ("div", "div_") and not isinstance(args[1], Pretended) and "rounding_mode" not in kwargs:
            func, args = _by_reciprocal(name, *args)
        given = tree_map(_held, args), tree_map(_held, kwargs)
        made = tree_map(_put, _record(func, *given, func(*given[0], **given[1])))
        return return_and_correct_aliasing(func, args, kwargs, made)


def _by_reciprocal(name: str, x: torch.Tensor, divisor: Any) -> tuple[Any, tuple[torch.Tensor, torch.Tensor]]:
    """Division by a CPU scalar as CUDA does it, by multiplication: see torch's BinaryDivTrueKernel.cu."""
    kind = torch.result_type(x, divisor)
    one = torch.ones((), dtype=kind if kind.is_floating_point else torch.get_default_dtype())
    return getattr(torch.ops.aten, name.replace("div", "mul")).Tensor, (x, Pretended(one / divisor))


def _held(x: Any) -> Any:
    return x.held if isinstance(x, Pretended) else x


def _put(x: Any) -> Any:
    return Pretended(x) if type(x) is torch.Tensor else x


def _written(target: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
    if not isinstance(target, Pretended):
        WAITS["copy to the processor"] += 1
    _record(torch.Tensor.copy_, (_held(target), _held(source)), {}, _held(target).copy_(_held(source)))
    return target


def _refuse_mixture(func: Any, args: Any, kwargs: Any) -> None:
    name = func._overloadpacket.__name__
    _refuse_generator(kwargs.get("generator"))
    others = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor) and not isinstance(x, Pretended)]
    if name in INDEXING and isinstance(args[0], Pretended):  # it accepts indices on the CPU
        others = [x for x in others if not any(x is index for index in args[1])]
    numbers = torch.Tag.pointwise in func.tags or name in NUMBERS_ALLOWED
    if any(x.dim() > 0 or not numbers for x in others):
        raise RuntimeError(f"Expected all tensors to be on the same device, but {func} got cuda:0 and cpu")


def _refuse_generator(generator: torch.Generator | None) -> None:
    if generator is not None and generator.device.type != "cuda":
        raise RuntimeError("Expected a 'cuda' device type for generator but found 'cpu'")


def moved(x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    """`x.to(...)` between the CPU and the pretended device."""
    device, dtype, _, memory_format = torch._C._nn._parse_to(*[_held(a) for a in args], **_without_copy(kwargs))
    if any(isinstance(a, Pretended) for a in args):
        device = CUDA
    there, more = isinstance(x, Pretended), {} if memory_format is None else {"memory_format": memory_format}
    if device is None or (device.type == "cuda") == there:
        return torch.Tensor.to(x, dtype=dtype or x.dtype, copy=kwargs.get("copy", False), **more)
    copy = _held(x).detach().to(dtype=dtype or x.dtype, copy=True, **more)
    if there:
        WAITS["copy to the processor"] += 1
    return copy if there else Pretended(copy.as_subclass(torch.Tensor))


def _without_copy(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in kwargs.items() if key != "copy"}


class _Functions(TorchFunctionMode):
    """Handles calls that name a device."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.Tensor.to:
            return moved(*args, **kwargs)
        device = kwargs.get("device")
        if device is None:
            return func(*args, **kwargs)
        if torch.device(device).type != "cuda":
            return func(*tree_map(_held, args), **kwargs)
        _refuse_generator(kwargs.get("generator"))
        wanted = kwargs.pop("requires_grad", False)
        given = tree_map(_held, args), tree_map(_held, kwargs | {"device": "cpu"})
        made = tree_map(_put, _record(func, *given, func(*given[0], **given[1])))
        return made.requires_grad_() if wanted else made


class _Derivatives(TorchDispatchMode):
    """Puts tensors that the formulas of derivatives create on the device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        made = func(*args, **kwargs)
        creates = {"zeros", "empty", "ones", "full", "empty_strided", "scalar_tensor", "arange"}
        backward = torch._C._current_graph_task_id() != -1
        if backward and func._overloadpacket.__name__ in creates:
            return tree_map(_put, _record(func, args, kwargs, made))
        return made


def _synchronize(*_: Any) -> None:
    WAITS["synchronize"] += 1


@contextmanager
def pretended(*refused: torch.dtype) -> Iterator[None]:
    """Pretend inside the block that there is a CUDA device without the `refused` dtypes; reset `WAITS` and `CALLS`."""
    WAITS.clear()
    CALLS.clear()
    REFUSED.clear()
    REFUSED.update(refused)
    driver = {
        "synchronize": _synchronize,
        **dict.fromkeys(("memory_allocated", "max_memory_allocated"), lambda *_: 0),
        **dict.fromkeys(("manual_seed", "set_rng_state", "reset_peak_memory_stats"), lambda *_: None),
        "get_rng_state": lambda *_: torch.zeros(16, dtype=torch.uint8),
        "device": lambda *_: nullcontext(),
        "CUDAGraph": Graph,
        "graph": _recording,
    }
    with pytest.MonkeyPatch.context() as patch, _Derivatives(), _Functions():
        for name, stand_in in driver.items():
            patch.setattr(torch.cuda, name, stand_in)
        yield
