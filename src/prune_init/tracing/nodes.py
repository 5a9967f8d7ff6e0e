"""What the nodes of a traced network are: layers, operations of the table, writes."""

from collections.abc import Iterator
from dataclasses import is_dataclass
from typing import Any

from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from prune_init.pruning import operations
from prune_init.pruning.behaviour import Channels, Operation

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_FORWARDS = {kind.forward for kind in (nn.Linear, _BatchNorm, nn.SyncBatchNorm, *_CONVOLUTIONS)}


_METHODS = ("__call__", "_call_impl", "forward", "_conv_forward", "_check_input_dim", "_output_padding")
"""Methods that decide what a call of a module does."""


def is_layer(module: nn.Module) -> bool:
    """Whether `module` is a Linear, Conv or BatchNorm that does what torch's does, with plain weight and bias."""
    plain = {name for name, _ in module.named_parameters()} <= {"weight", "bias"}
    return plain and type(module).forward in _FORWARDS and runs_as_torch(module)


def torch_class(module: nn.Module) -> type[nn.Module]:
    """The class of torch that a module is an instance of, or of a subclass of."""
    return next(base for base in type(module).__mro__ if base.__module__.startswith("torch."))


def runs_as_torch(module: nn.Module) -> bool:
    """Whether neither a subclass nor the module itself replaces a method of torch's class."""
    kind = torch_class(module)
    own = vars(module).keys() & set(_METHODS)
    return not own and all(getattr(type(module), name, None) is getattr(kind, name, None) for name in _METHODS)


def module_of(node: fx.Node, model: nn.Module) -> Any:
    """The module that a `call_module` node calls."""
    return model.get_submodule(str(node.target))


def operation(node: fx.Node, model: nn.Module) -> str:
    """The operation of a node, with the same name for module, function and method: max_pool2d, relu, add."""
    if node.op == "call_module":
        module = module_of(node, model)
        name = operations.of_module(type(module))
        return name.replace("tanh", module.nonlinearity) if isinstance(module, (nn.RNN, nn.RNNCell)) else name
    return operations.plain(_called(node))


def known(node: fx.Node, model: nn.Module) -> Operation | None:
    """The entry for a node in the table of operations; None if the operation is unknown or the node is not one."""
    if node.op == "call_module":
        return operations.lookup(operation(node, model))
    return operations.lookup(_called(node)) if node.op.startswith("call") else None


def sources(node: fx.Node, model: nn.Module) -> list[fx.Node]:
    """The nodes whose elements a node reads; its other inputs lend no more than a shape, a type or a device."""
    found = known(node, model)
    return node.all_input_nodes[: found.reads if found else None]


def adds(node: fx.Node, model: nn.Module) -> bool:
    """Whether a node is a sum or a difference."""
    found = known(node, model)
    return found is not None and found.channels is Channels.SUM


def makes_structure(node: fx.Node) -> bool:
    """Whether a node only puts results into an instance of a dataclass, which forward returns."""
    return is_dataclass(node.target) and not node.args


def in_place(node: fx.Node, model: nn.Module) -> bool:
    """Whether a node writes to one of its operands."""
    return any(True for _ in written(node, model))


def written(node: fx.Node, model: nn.Module) -> Iterator[fx.Node]:
    """The nodes whose tensors a node writes to."""
    if node.op == "call_module" and getattr(module_of(node, model), "inplace", False):
        yield node.all_input_nodes[0]
    elif node.op in ("call_function", "call_method"):
        operator = getattr(node.target, "__module__", "") == "_operator"
        name = f"__{operation(node, model)}__" if operator else _name(node)
        for argument in operations.written(node.target, name, node.args, node.kwargs):
            yield from [argument] if isinstance(argument, fx.Node) else []


def place(node: fx.Node) -> str:
    """The place of a node in the model: the name of its module, or of the enclosing module and the function called."""
    if node.op == "call_module":
        return str(node.target)
    inside = next(reversed(node.meta.get("nn_module_stack") or {"": None}))
    return f"{inside}.{_name(node)}".removeprefix(".")


def _name(node: fx.Node) -> str:
    return node.target if isinstance(node.target, str) else node.target.__name__


def _called(node: fx.Node) -> str:
    """The name of the function or method that a node calls, with underscores, or of the attribute that it reads."""
    return str(node.args[1]) if node.target is getattr else _name(node)
