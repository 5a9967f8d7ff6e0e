"""Train and eval mode in one graph: what differs between them, and what follows the mode."""

from torch import Tensor, fx, nn
from torch.fx.node import map_arg
from torch.utils._pytree import tree_flatten, tree_unflatten

from prune_init.errors import ModelError
from prune_init.tracing.trace import trace


def in_both_modes(root: nn.Module, trained: nn.Module, example_input: Tensor) -> tuple[fx.Graph, fx.Graph]:
    """The traces of both modes; modules that perform other operations in train mode are single operations."""
    whole: set[str] = set()
    while True:
        graph, other = (trace(net, example_input, whole) for net in (root, trained))
        name = _differing(graph, other)
        while name in whole:
            name = name.rpartition(".")[0]
        if not name:
            return graph, other
        found = root.get_submodule(name)
        alike = [] if any(True for _ in found.parameters()) else root.named_modules()  # to trace less often
        whole |= {name, *(other for other, module in alike if type(module) is type(found))}


def _differing(graph: fx.Graph, other: fx.Graph) -> str:
    """The name of the innermost module in which the graphs first differ; "" if it is the net itself, or nowhere."""
    for one, two in zip(graph.nodes, other.nodes, strict=False):
        if (one.op, one.target) != (two.op, two.target):
            mine, theirs = (_modules_around(node) for node in (one, two))
            apart = [names[-1] for names, rest in ((theirs, mine), (mine, theirs)) if names and names[-1] not in rest]
            return [*apart, *mine[-1:], ""][0]
    return ""


def _modules_around(node: fx.Node) -> list[str]:
    return [name for name in node.meta.get("nn_module_stack") or {} if name != node.target]


def follow_mode(trained: fx.Graph, graph: fx.Graph, model: nn.Module) -> None:
    """Let `graph` read `training` at run time for each argument that is True in train mode and False in eval mode."""
    branches = ModelError(model, "its forward performs different operations in train and eval mode")
    if len(trained.nodes) != len(graph.nodes):
        raise branches
    twin: dict[fx.Node, fx.Node] = {}
    mode = None
    for one, other in zip(trained.nodes, list(graph.nodes), strict=True):
        twin[one] = other
        other.meta["gradients"] = one.meta["gradients"]
        ours, layout = tree_flatten(map_arg((one.args, one.kwargs), twin.__getitem__))  # also in slices
        theirs, form = tree_flatten((other.args, other.kwargs))
        if (one.op, one.target, layout) != (other.op, other.target, form):
            raise branches
        if ours == theirs:
            continue
        if mode is None:
            with graph.inserting_before(next(iter(graph.nodes))):
                mode = graph.create_node("get_attr", "training")
        follows = [mode if (a, b) == (True, False) else b for a, b in zip(ours, theirs, strict=True)]
        if [a for a, f in zip(ours, follows, strict=True) if f is not mode] != [f for f in follows if f is not mode]:
            raise branches
        other.args, other.kwargs = tree_unflatten(follows, form)
