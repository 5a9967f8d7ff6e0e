"""Trace a network: record its operations as a torch.fx graph without in-place changes that are read later."""

import dataclasses
import inspect
from collections.abc import Callable, Collection, Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn

from prune_init.errors import ModelError, first_line
from prune_init.tracing.nodes import (
    is_layer,
    runs_as_torch,
)
from prune_init.tracing.overwritten import read_what_was_overwritten
from prune_init.tracing.proxies import AUGMENTED, Proxy
from prune_init.tracing.sizes import Examples, check_size


class _Tracer(fx.Tracer):
    def __init__(self, whole: Collection[str], *, buffers: bool, example: Tensor | None = None) -> None:
        super().__init__()
        self.proxy_buffer_attributes = buffers
        self._whole = whole
        self._example = example
        self._examples: Examples | None = None
        self._computing = False  # whether modules are called on tensors, within a call on proxies

    def to_bool(self, obj: fx.Proxy) -> bool:
        return bool(self.fixed(obj, "bool"))

    def iter(self, obj: fx.Proxy) -> Iterator[Any]:
        elements: Any = obj
        return iter([elements[position] for position in range(len(elements))])

    def fixed(self, number: fx.Proxy, kind: str) -> Any:
        """What a number computed from sizes is for the example, as a `sizes.KINDS`; the graph compares it later."""
        if self._example is None:
            raise fx.proxy.TraceError("symbolically traced variables cannot be used as inputs to control flow")
        if self._examples is None:
            self._examples = Examples(self.root, self.graph, self._example)
        self._computing = True
        try:
            value = self._examples.number(number.node, kind)
        finally:
            self._computing = False
        self.create_proxy("call_function", check_size, (number, kind, value), {})
        return value

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return Proxy(node, self)

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        node = super().create_node(*args, **kwargs)
        node.meta["gradients"] = torch.is_grad_enabled()  # a graph does not contain torch.no_grad
        return node

    def create_arg(self, a: Any) -> Any:
        if isinstance(a, dict) and dataclasses.is_dataclass(a):  # outputs of transformers; fx would return a plain dict
            return self.create_node("call_function", type(a), (), {key: self.create_arg(x) for key, x in a.items()})
        return super().create_arg(a)

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        return forward(*args, **kwargs) if self._computing else super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        return attr_val if self._computing else super().getattr(attr, attr_val, parameter_proxy_cache)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if module_qualified_name in self._whole:
            return True
        # A subclass that keeps the forward of nn.Linear is a layer too, wherever it is defined.
        return is_layer(m) or (super().is_leaf_module(m, module_qualified_name) and runs_as_torch(m))

    def create_args_for_root(
        self, root_fn: Callable[..., Any], is_module: bool, concrete_args: Any = None
    ) -> tuple[Callable[..., Any], list[Any]]:
        """The forward to call and its arguments: the first one, and others that have no default."""
        # With placeholders for optional arguments too, `if mask is None` would take the wrong branch.
        forward: Any = self.root.forward
        kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        first, *others = inspect.signature(forward).parameters.values()
        needed = [first, *(p for p in others if p.default is p.empty and p.kind not in kinds)]
        types = inspect.unwrap(root_fn).__annotations__
        given = [self.create_proxy("placeholder", p.name, (), {}, type_expr=types.get(p.name)) for p in needed]
        by_name = {p.name: x for p, x in zip(needed[1:], given[1:], strict=True)}
        return lambda x: forward(x, **by_name), given[:1]


def trace(model: nn.Module, example: Tensor, whole: Collection[str] = ()) -> fx.Graph:
    """The graph of `model` in its present train or eval mode, without in-place changes that are read later.

    Optional arguments of the forward, apart from the first, have their defaults. Where forward decides by sizes, the
    graph is that for inputs like `example`, and refuses others. Tracing stores tensors that forward creates as
    attributes of `model`: pass a copy (`copy.copy` is enough). Modules named in `whole` are single operations.

    Raises:
        InputError: torch.fx cannot follow the model's forward, it needs several inputs, or it reads what it has
            overwritten through a view.
    """
    graph = _traced(model, example, whole)
    if second := [node.target for node in graph.nodes if node.op == "placeholder"][1:2]:
        raise ModelError(model, f"needs a second input, {second[0]}; allowed: nets with one, and others with defaults")
    read_what_was_overwritten(graph, model)
    for node in graph.nodes:
        node.target = AUGMENTED.get(node.target, node.target)
    return graph


def _traced(model: nn.Module, example: Tensor, whole: Collection[str]) -> fx.Graph:
    """The graph that torch.fx records: for all sizes, if it can, and else for those of the example.

    It is recorded with the values of buffers at hand, or without, as for `mask[: x.shape[1]]`.
    """
    buffers = [(module._buffers, dict(module._buffers)) for module in model.modules()]
    failures = []
    attempts: list[dict[str, Any]] = [{"buffers": False}, {"buffers": True}, {"buffers": True, "example": example}]
    for attempt in attempts:
        try:
            return _Tracer(whole, **attempt).trace(model)
        except Exception as error:  # the model's own code runs on proxies here and may fail in any way
            failures.append(error)
        finally:
            for held, values in buffers:
                held.update(values)  # forward may have replaced one by a proxy
    raise ModelError(model, f"torch.fx cannot trace it: {first_line(failures[-1])}") from failures[-1]
