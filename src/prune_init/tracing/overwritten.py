"""In-place changes that are read later, connected as if nothing were done in place."""

import operator as python
from collections.abc import Container

from torch import fx, nn

from prune_init.errors import ModelError
from prune_init.pruning.behaviour import Memory, Paths
from prune_init.tracing.nodes import in_place, known, module_of, operation, place, sources, written

_Path = tuple[fx.Node | int, ...]
"""The way to a tensor in memory: the node that allocates it, then views, or positions in what `chunk` returns."""


def read_what_was_overwritten(graph: fx.Graph, model: nn.Module) -> None:
    """Connect later readers of a tensor that was changed in place to the result, as if nothing were done in place."""
    order = {node: position for position, node in enumerate(graph.nodes)}
    paths = _paths(graph, model)
    for node in order:
        for target in (target for target in written(node, model) if target in paths):
            for other in (other for other in paths if order[other] < order[node]):
                for reader in [reader for reader in other.users if order[reader] > order[node]]:
                    if paths[other] == paths[target] == paths.get(node):
                        reader.replace_input_with(other, node)
                    elif other in sources(reader, model) and _overlap(paths[target], _read(paths, other, reader)):
                        what = f"{operation(node, model)} at {place(node)} overwrites what {place(reader)} reads later"
                        raise ModelError(model, f"{what} in another view: write it out of place")


def _paths(graph: fx.Graph, model: nn.Module) -> dict[fx.Node, _Path]:
    """The path of every node, apart from those that give Python numbers."""
    paths: dict[fx.Node, _Path] = {}
    for node in graph.nodes:
        if _counts(node, model, paths):
            continue
        memory, base = _memory(node, model), next(iter([*written(node, model), *node.all_input_nodes]), node)
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


def _read(paths: dict[fx.Node, _Path], source: fx.Node, reader: fx.Node) -> _Path:
    """The path of what a reader of `source` reads: of its result, if that is a view."""
    path = paths.get(reader, ())
    return path if path[:1] == paths[source][:1] else paths[source]


def _overlap(one: _Path, other: _Path) -> bool:
    """Whether two tensors may share memory."""
    first, second = next(((a, b) for a, b in zip(one, other, strict=False) if a != b), (None, None))
    apart = isinstance(first, int) and isinstance(second, int) and (first < 0) == (second < 0)
    return one[0] is other[0] and not apart
