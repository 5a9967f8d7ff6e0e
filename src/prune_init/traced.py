"""A network as a torch.fx graph of its operations."""

import inspect
import operator as python
from collections.abc import Callable, Container, Iterator
from typing import Any

from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from prune_init.errors import InputError, first_line
from prune_init.pruning import operations
from prune_init.pruning.operations import Channels, Memory, Operation, Paths

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


class Proxy(fx.Proxy):
    """A proxy that records `x += y` as what it is; a plain one records `x = x + y`."""


_AUGMENTED = {
    getattr(python, f"i{name.strip('_')}"): getattr(python, name)
    for name in "add sub mul matmul truediv floordiv mod pow and_ or_ xor lshift rshift".split()
}
for _function in _AUGMENTED:

    def _record(self: Proxy, other: Any, function: Callable[..., Any] = _function) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", function, (self, other), {})

    setattr(Proxy, f"__{_function.__name__}__", _record)


class _Tracer(fx.Tracer):
    def proxy(self, node: fx.Node) -> fx.Proxy:
        return Proxy(node, self)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        # A subclass that keeps the forward of nn.Linear is a layer too, wherever it is defined.
        return is_layer(m) or (super().is_leaf_module(m, module_qualified_name) and _runs_as_torch(m))

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


def trace(model: nn.Module) -> fx.Graph:
    """The graph of `model` in its present train or eval mode, without in-place changes that are read later.

    Optional arguments of the forward, apart from the first, have their defaults. Tracing stores tensors that forward
    creates as attributes of `model`: pass a copy (`copy.copy` is enough).

    Raises:
        InputError: torch.fx cannot follow the model's forward, or it reads what it has overwritten through a view.
    """
    try:
        graph = _Tracer().trace(model)
    except Exception as error:  # the model's own code runs on proxies here and may fail in any way
        raise InputError("model", type(model).__name__, f"torch.fx cannot trace it: {first_line(error)}") from error
    _read_what_was_overwritten(graph, model)
    for node in graph.nodes:
        node.target = _AUGMENTED.get(node.target, node.target)
    return graph


def module_of(node: fx.Node, model: nn.Module) -> Any:
    """The module that a `call_module` node calls."""
    return model.get_submodule(str(node.target))


def operation(node: fx.Node, model: nn.Module) -> str:
    """The operation of a node, with the same name for module, function and method: max_pool2d, relu, add."""
    if node.op == "call_module":
        return operations.of_module(type(module_of(node, model)))
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


def in_place(node: fx.Node, model: nn.Module) -> bool:
    """Whether a node writes to one of its operands."""
    return any(True for _ in _written(node, model))


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


_Path = tuple[fx.Node | int, ...]
"""The way to a tensor in memory: the node that allocates it, then views, or positions in what `chunk` returns."""


def _read_what_was_overwritten(graph: fx.Graph, model: nn.Module) -> None:
    """Connect later readers of a tensor that was changed in place to the result, as if nothing were done in place."""
    order = {node: position for position, node in enumerate(graph.nodes)}
    paths = _paths(graph, model)
    for node in order:
        for target in (target for target in _written(node, model) if target in paths):
            for other in (other for other in paths if order[other] < order[node]):
                for reader in [reader for reader in other.users if order[reader] > order[node]]:
                    if paths[other] == paths[target] == paths.get(node):
                        reader.replace_input_with(other, node)
                    elif other in sources(reader, model) and _overlap(paths[target], _read(paths, other, reader)):
                        what = f"{operation(node, model)} at {place(node)} overwrites what {place(reader)} reads later"
                        raise InputError(
                            "model", type(model).__name__, f"{what} in another view: write it out of place"
                        )


def _paths(graph: fx.Graph, model: nn.Module) -> dict[fx.Node, _Path]:
    """The path of every node, apart from those that give Python numbers."""
    paths: dict[fx.Node, _Path] = {}
    for node in graph.nodes:
        if _counts(node, model, paths):
            continue
        memory, base = _memory(node, model), next(iter([*_written(node, model), *node.all_input_nodes]), node)
        if memory is None or base not in paths:
            paths[node] = (node,)
        elif memory is Memory.SAME:
            paths[node] = paths[base]
        else:
            picked = node.args[1] if node.target is python.getitem else None
            paths[node] = (*paths[base], picked if isinstance(picked, int) else node)
    return paths


def _counts(node: fx.Node, model: nn.Module, tensors: Container[fx.Node]) -> bool:
    """Whether a node gives a Python number or a tuple of them, such as sizes, rather than a tensor."""
    found = known(node, model)
    if found and found.paths in (Paths.QUERY, Paths.ANSWER):
        return True
    plain = getattr(node.target, "__module__", "") in ("_operator", "builtins", "math")
    return plain and not any(source in tensors for source in node.all_input_nodes)


def _memory(node: fx.Node, model: nn.Module) -> Memory | None:
    """Where the result of a node lies, with respect to what it writes to or reads first."""
    if in_place(node, model):
        return None if operation(node, model) == "setitem" else Memory.SAME
    found = known(node, model)
    if found is None or found.paths is not Paths.DROPOUT:
        return found.memory if found else None
    drawing = found.bound(node.args, node.kwargs) if node.op != "call_module" else vars(module_of(node, model))
    return None if drawing.get("training", True) and drawing.get("p") != 0 else found.memory


def _written(node: fx.Node, model: nn.Module) -> Iterator[fx.Node]:
    """The nodes whose tensors a node writes to."""
    if node.op == "call_module" and getattr(module_of(node, model), "inplace", False):
        yield node.all_input_nodes[0]
    elif node.op in ("call_function", "call_method"):
        operator = getattr(node.target, "__module__", "") == "_operator"
        name = f"__{operation(node, model)}__" if operator else _name(node)
        for argument in operations.written(node.target, name, node.args, node.kwargs):
            yield from [argument] if isinstance(argument, fx.Node) else []


def _read(paths: dict[fx.Node, _Path], source: fx.Node, reader: fx.Node) -> _Path:
    """The path of what a reader of `source` reads: of its result, if that is a view."""
    path = paths.get(reader, ())
    return path if path[:1] == paths[source][:1] else paths[source]


def _overlap(one: _Path, other: _Path) -> bool:
    """Whether two tensors may share memory."""
    first, second = next(((a, b) for a, b in zip(one, other, strict=False) if a != b), (None, None))
    apart = isinstance(first, int) and isinstance(second, int) and (first < 0) == (second < 0)
    return one[0] is other[0] and not apart
