"""Turn functions on a layer's own tensors (timm's norms, linear layers) into calls of the layer."""

from operator import attrgetter
from typing import Any

from torch import Tensor, fx, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from prune_init.pruning.operations import named_arguments
from prune_init.tracing.nodes import torch_class

_FUNCTIONS = {F.batch_norm: _BatchNorm, F.linear: nn.Linear}


def layer_calls(graph: fx.Graph, model: nn.Module) -> dict[str, fx.Node]:
    """The functions that could be calls of a layer, by the layer's name; a layer that is used twice is not among them.

    Args:
        graph: the trace of `model`.
        model: in the mode in which it was traced.
    """
    found = [(name, node) for node in graph.nodes if node.target in _FUNCTIONS and (name := _owner(node, model))]
    names = [name for name, _ in found]
    return {name: node for name, node in found if names.count(name) == 1}


def call_layer(name: str, node: fx.Node, model: nn.Module) -> None:
    """Replace the function `node` by a call of the layer `name`."""
    graph = node.graph
    with graph.inserting_before(node):
        call = graph.call_module(name, (named_arguments(node.target, node.args, node.kwargs)["input"],))
    call.meta = {**node.meta, "layer": True}
    node.replace_all_uses_with(call)
    graph.erase_node(node)
    as_torch(model.get_submodule(name))


def as_torch(module: nn.Module) -> nn.Module:
    """Make a layer compute what torch's class does: its own forward may do more, which is in the graph already."""
    module.__class__ = torch_class(module)
    vars(module).pop("forward", None)
    return module


def _owner(node: fx.Node, model: nn.Module) -> str | None:
    """The name of the layer that would call this function with the very same arguments, or None."""
    given = named_arguments(node.target, node.args, node.kwargs)
    weight = given.pop("weight", None)
    if given.pop("input", None) is None or not isinstance(weight, fx.Node) or weight.op != "get_attr":
        return None
    name = str(weight.target).rpartition(".")[0]
    layer: Any = model.get_submodule(name)
    kind: Any = _FUNCTIONS[node.target]  # type: ignore[index]
    if not isinstance(layer, kind):
        return None
    passed = _passed(layer) if kind is _BatchNorm else {"bias": layer.bias}
    tensors = {**given, "weight": weight}
    values = {key: _value(argument, model) for key, argument in tensors.items()}
    same = values["weight"] is layer.weight and values.keys() <= {"weight", *passed}
    return name if same and all(_equal(values.get(key), value) for key, value in passed.items()) else None


def _passed(norm: _BatchNorm) -> dict[str, Any]:
    """The arguments that torch's batch norm passes to its function, apart from input and weight."""
    measured = norm.training and norm.track_running_stats
    average = 1 / float(norm.num_batches_tracked) if measured and norm.num_batches_tracked else 0.0
    recalls = not norm.training or norm.track_running_stats
    return {
        "running_mean": norm.running_mean if recalls else None,
        "running_var": norm.running_var if recalls else None,
        "bias": norm.bias,
        "training": norm.training or (norm.running_mean is None and norm.running_var is None),
        "momentum": average if norm.momentum is None else norm.momentum,
        "eps": norm.eps,
    }


def _value(argument: Any, model: nn.Module) -> Any:
    if isinstance(argument, fx.Node) and argument.op == "get_attr":
        return attrgetter(str(argument.target))(model)
    return argument


def _equal(one: Any, other: Any) -> bool:
    return one is other or (not isinstance(other, Tensor) and not isinstance(one, Tensor) and bool(one == other))
