"""One float64 run of a traced net that allows differentiation by every connection and every use of a parameter."""

from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.func import functional_call
from torch.fx.node import map_arg
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from prune_init.flow.used_layer import UsedLayer, of_function, of_module, of_norm
from prune_init.pruning.behaviour import Channels, Paths
from prune_init.pruning.masks import Tensors
from prune_init.pruning.structures import leaves, mapped
from prune_init.tracing.nodes import adds, is_layer, known, module_of, sources


def run(graph: fx.Graph, model: nn.Module, tensors: Tensors, x: Tensor) -> "GraphRun":
    """Run `graph` on x with `tensors` in place of the model's parameters and buffers, which are not changed.

    Every connection and every use of a parameter is a separate variable, so that the uses of a shared layer and the
    readers of a tensor are distinguished.
    """
    _part_sums(graph, model)
    state = GraphRun(graph, model, tensors)
    first, *rest = graph.nodes
    state.values[first] = x.requires_grad_()
    state.live.add(first)
    for node in rest:
        state.values[node] = state.step(node)
    return state


class GraphRun:
    """The state of one run.

    Attributes:
        graph, model, tensors: the arguments of `run`.
        values: the result of each operation so far, in the order they ran.
        live: the operations whose result depends on the input in a differentiable way, unlike `argmax` and `>`.
        layers: each use of a layer.
        connections: for each (operation, reader), the tensors that the reader received.
    """

    def __init__(self, graph: fx.Graph, model: nn.Module, tensors: Tensors) -> None:
        self.graph, self.model, self.tensors = graph, model, tensors
        self.values: dict[fx.Node, Any] = {}
        self.live: set[fx.Node] = set()
        self.layers: dict[fx.Node, UsedLayer] = {}
        self.connections: dict[tuple[fx.Node, fx.Node], list[Tensor]] = {}

    def tensors_of(self, node: fx.Node) -> Tensors:
        """The parameters and buffers of the module that a node calls."""
        prefix = f"{node.target}."
        return {name.removeprefix(prefix): t for name, t in self.tensors.items() if name.startswith(prefix)}

    def step(self, node: fx.Node) -> Any:
        """The result of one operation."""
        if node.op == "get_attr":
            name = str(node.target)
            return self.tensors[name] if name in self.tensors else attrgetter(name)(self.model)
        if not node.meta.get("gradients", True):  # under torch.no_grad
            return mapped(Tensor.detach, self._called(node))
        if not any(source in self.live for source in sources(node, self.model)):
            return self._called(node)
        layer = self._layer(node)
        if layer is not None:
            self.layers[node] = layer
            value = layer.call(input=self._connect(self.source(node), node, None), **layer.own)
        else:
            value = self._called(node)
        if node.op == "output" or not _is_constant(value):
            self.live.add(node)
        return value

    def _called(self, node: fx.Node) -> Any:
        """The result of an operation that is no layer."""
        shape = self._sum_shape(node)
        args = map_arg(node.args, lambda source: self._connect(source, node, shape))
        kwargs = map_arg(node.kwargs, lambda source: self._connect(source, node, shape))
        if node.op == "output":
            return args[0]
        if node.op == "call_module":
            return functional_call(module_of(node, self.model), self.tensors_of(node), args, kwargs)
        call = getattr(args[0], node.target) if isinstance(node.target, str) else node.target
        return call(*args[node.op == "call_method" :], **kwargs)

    def source(self, layer: fx.Node) -> fx.Node:
        """The node whose result a layer reads: the only one that depends on the input, as weights do not."""
        return next(source for source in layer.all_input_nodes if source in self.live)

    def _layer(self, node: fx.Node) -> UsedLayer | None:
        """The layer that a node calls; None if it is no layer."""
        if sum(source in self.live for source in node.all_input_nodes) != 1:
            return None
        x = self.values[self.source(node)]
        if node.op == "call_module":
            return self._called_layer(node, x)
        function = known(node, self.model)
        layers = (Channels.LAYER, Channels.BATCH_NORM)
        if not callable(node.target) or function is None or function.channels not in layers:
            return None
        given: Any = map_arg(function.bound(node.args, node.kwargs), self.values.__getitem__)
        return of_function(function, node.target, given) if given["input"] is x else None

    def _called_layer(self, node: fx.Node, x: Tensor) -> UsedLayer | None:
        """The layer that a node calls as a module; None if it is no layer."""
        module, tensors = module_of(node, self.model), self.tensors_of(node)
        if isinstance(module, _BatchNorm) and is_layer(module):
            return of_norm(module, tensors, x)
        if not isinstance(module, (nn.Linear, _ConvNd)):
            return None
        named = {key: value for key, value in node.kwargs.items() if key != "input"}
        others, named = map_arg((node.args[1:], named), self.values.__getitem__)
        return of_module(module, tensors, x.double(), *others, **named)

    def _sum_shape(self, node: fx.Node) -> torch.Size | None:
        """The shape of a sum, to which its terms are expanded so that each of its elements has its own; else None."""
        if node.op == "output" or not adds(node, self.model):
            return None
        terms = [self.values[source] for source in node.all_input_nodes]
        return torch.broadcast_shapes(*(term.shape for term in terms if isinstance(term, Tensor)))

    def _connect(self, source: fx.Node, reader: fx.Node, shape: torch.Size | None) -> Any:
        """The value of `source` for `reader`: variables to differentiate by, copied as it may overwrite them."""
        ends = self.connections.setdefault((source, reader), [])

        def end(value: Tensor) -> Tensor:
            if _is_constant(value):
                return value
            # A constant that forward creates may be in single precision.
            value = value.to(torch.complex128 if value.is_complex() else torch.float64)
            value = value if shape is None else value.expand(shape)
            ends.append(value.view_as(value) if value.requires_grad else value.detach().clone().requires_grad_())
            return ends[-1].clone()

        return mapped(end, self.values[source])


def _is_constant(value: Any) -> bool:
    """Whether a value has no derivative: whole numbers, truth values and whatever is no tensor."""
    return not any(tensor.is_floating_point() or tensor.is_complex() for tensor in leaves(value))


_PRODUCTS = {Paths.MATMUL_ADDED: torch.matmul, Paths.PRODUCT_ADDED: torch.mul}


def _part_sums(graph: fx.Graph, model: nn.Module) -> None:
    """Write a + b @ c and a + b * c as a product and a sum, so that a constant a counts as a bias."""
    for node in list(graph.nodes):
        found = known(node, model)
        if found is None or found.paths not in _PRODUCTS or len(node.args) != 3 or "out" in node.kwargs:
            continue
        first, *factors = node.args
        scale = node.kwargs.get("alpha", node.kwargs.get("value", 1))
        with graph.inserting_before(node):
            product = graph.call_function(_PRODUCTS[found.paths], tuple(factors))
            scaled = graph.call_function(torch.mul, (product, scale)) if scale != 1 else product
            total = graph.call_function(torch.add, (scaled, first), {"alpha": node.kwargs.get("beta", 1)})
        for part in (product, scaled, total):
            part.meta = node.meta
        node.replace_all_uses_with(total)
        graph.erase_node(node)
