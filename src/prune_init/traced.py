"""A network as a torch.fx graph of its operations."""

from typing import Any

from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from prune_init.errors import InputError, first_line
from prune_init.pruning import operations
from prune_init.pruning.operations import Channels, Operation

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_FORWARDS = {kind.forward for kind in (nn.Linear, _BatchNorm, *_CONVOLUTIONS)}


_METHODS = ("__call__", "_call_impl", "forward", "_conv_forward", "_check_input_dim", "_output_padding")
"""Methods that decide what a call of a module does."""


def is_layer(module: nn.Module) -> bool:
    """Whether `module` is a Linear, Conv or BatchNorm that does what torch's does, with plain weight and bias."""
    plain = {name for name, _ in module.named_parameters()} <= {"weight", "bias"}
    return plain and type(module).forward in _FORWARDS and _runs_as_torch(module)


def torch_class(module: nn.Module) -> type[nn.Module]:
    """The class of torch that a module is an instance of, or of a subclass of."""
    return next(base for base in type(module).__mro__ if base.__module__.startswith("torch."))


def _runs_as_torch(module: nn.Module) -> bool:
    """Whether neither a subclass nor the module itself replaces a method of torch's class."""
    kind = torch_class(module)
    own = vars(module).keys() & set(_METHODS)
    return not own and all(getattr(type(module), name, None) is getattr(kind, name, None) for name in _METHODS)


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        # A subclass that keeps the forward of nn.Linear is a layer too, wherever it is defined.
        return is_layer(m) or (super().is_leaf_module(m, module_qualified_name) and _runs_as_torch(m))


def trace(model: nn.Module) -> fx.Graph:
    """The graph of `model` in its present train or eval mode, without in-place changes that are read later.

    Tracing stores tensors that forward creates as attributes of `model`: pass a copy (`copy.copy` is enough).

    Raises:
        InputError: torch.fx cannot follow the model's forward.
    """
    try:
        graph = _Tracer().trace(model)
    except Exception as error:  # the model's own code runs on proxies here and may fail in any way
        raise InputError("model", type(model).__name__, f"torch.fx cannot trace it: {first_line(error)}") from error
    _read_what_was_overwritten(graph, model)
    return graph


def module_of(node: fx.Node, model: nn.Module) -> Any:
    """The module that a `call_module` node calls."""
    return model.get_submodule(str(node.target))


def operation(node: fx.Node, model: nn.Module) -> str:
    """The operation of a node, with the same name for module, function and method: max_pool2d, relu, add."""
    if node.op == "call_module":
        return operations.of_module(type(module_of(node, model)))
    return operations.plain(str(node.args[1]) if node.target is getattr else _name(node))


def known(node: fx.Node, model: nn.Module) -> Operation | None:
    """The entry for a node in the table of operations; None if the operation is unknown or the node is not one."""
    return operations.lookup(operation(node, model)) if node.op.startswith("call") else None


def adds(node: fx.Node, model: nn.Module) -> bool:
    """Whether a node is a sum or a difference."""
    found = known(node, model)
    return found is not None and found.channels is Channels.SUM


def place(node: fx.Node) -> str:
    """The place of a node in the model: the name of its module, or of the enclosing module and the function called."""
    if node.op == "call_module":
        return str(node.target)
    inside = next(reversed(node.meta.get("nn_module_stack") or {"": None}))
    return f"{inside}.{_name(node)}".removeprefix(".")


def _name(node: fx.Node) -> str:
    return node.target if isinstance(node.target, str) else node.target.__name__


def _read_what_was_overwritten(graph: fx.Graph, model: nn.Module) -> None:
    """Connect later readers of a tensor that was changed in place to the result, as if nothing were done in place."""
    order = {node: position for position, node in enumerate(graph.nodes)}
    for node, position in order.items():
        if node.op.startswith("call") and in_place(node, model) and node.all_input_nodes:
            old = node.all_input_nodes[0]
            for reader in list(old.users):
                if order[reader] > position:
                    reader.replace_input_with(old, node)


def in_place(node: fx.Node, model: nn.Module) -> bool:
    """Whether a node changes its first operand."""
    if node.op == "call_module":
        return bool(getattr(module_of(node, model), "inplace", False))
    return bool(node.kwargs.get("inplace")) or (_name(node).endswith("_") and not _name(node).endswith("__"))
