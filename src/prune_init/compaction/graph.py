"""Trace a net into one graph for train and eval mode, with the shape of every tensor."""

import copy
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._pytree import tree_flatten, tree_unflatten

from prune_init.errors import InputError, fits
from prune_init.pruning.checks import check_batch
from prune_init.pruning.plain_run import plainly
from prune_init.pruning.read_only import only_read
from prune_init.traced import trace


class ChannelGraph:
    """The operations of a net and the shapes of the tensors between them. The net itself is not changed.

    Attributes:
        model: the net.
        graph: its operations. Batch norms are module calls, however the net's code calls them; an argument that is
            True in train and False in eval mode is read from the attribute `training`.
        root: the copy of the net whose modules and tensors the graph refers to.
        shapes: the shape of every tensor in the graph, for a batch of two.
    """

    def __init__(self, model: nn.Module, example_input: Tensor) -> None:
        check_batch("example_input", example_input)
        self.model = model
        trained = _shell(model).train()
        self.root = _shell(model).eval()
        with only_read(model), plainly(model):
            self.graph = _plain(trace(self.root), self.root)
            _follow_mode(_plain(trace(trained), trained), self.graph, model)
            self.shapes = {node: x.shape for node, x in self.values(example_input).items()}

    @torch.no_grad()
    def values(self, example_input: Tensor) -> dict[fx.Node, Tensor]:
        """The tensor at each node, in eval mode, for a batch of two inputs of zeros."""
        for name, buffer in self.model.named_buffers():
            self.root.get_buffer(name).copy_(buffer)
        parameter = next(self.model.parameters())
        dtype = parameter.dtype if example_input.is_floating_point() else example_input.dtype
        recorder = _Recorder(fx.GraphModule(self.root, self.graph))
        with fits(self.model, "example_input", list(example_input.shape)):
            recorder.run(torch.zeros((2, *example_input.shape[1:]), dtype=dtype, device=parameter.device))
        return recorder.tensors

    def module(self, node: fx.Node) -> Any:
        """The module that a `call_module` node calls."""
        return self.model.get_submodule(str(node.target))

    def attribute(self, node: fx.Node) -> Any:
        """What a `get_attr` node reads."""
        owner, _, name = str(node.target).rpartition(".")
        return getattr(self.root.get_submodule(owner), name)


class _Recorder(fx.Interpreter):
    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.tensors: dict[fx.Node, Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if isinstance(value, Tensor):
            self.tensors[n] = value
        return value

    def call_module(self, target: Any, args: Any, kwargs: Any) -> Any:
        module = self.fetch_attr(target)
        if isinstance(module, _BatchNorm):  # timm's include an activation, which is a node of its own here: see _plain
            return _BatchNorm.forward(module, *args, **kwargs)
        return module(*args, **kwargs)


def _shell(model: nn.Module) -> nn.Module:
    """A copy that shares the parameters: tracing runs forward, which may change buffers and set attributes."""
    return copy.deepcopy(model, {id(parameter): parameter for parameter in model.parameters()})


_FUNCTIONS = {F.batch_norm: _BatchNorm, F.linear: nn.Linear}


def _plain(graph: fx.Graph, model: nn.Module) -> fx.Graph:
    """Remove assertions; turn functions on a layer's tensors (timm's norms, linear layers) into calls of the layer."""
    owners = {node: _owner(node, model) for node in graph.nodes if node.target in _FUNCTIONS}
    for node in list(graph.nodes):
        if node.target is torch._assert:
            graph.erase_node(node)
        elif node in owners and (owner := owners[node]) and list(owners.values()).count(owner) == 1:
            with graph.inserting_before(node):
                call = graph.call_module(owner, (node.args[0],))
            call.meta = {**node.meta, "layer": True}
            node.replace_all_uses_with(call)
    # This removes the code that counted batches for these norms: the called modules count for themselves.
    graph.eliminate_dead_code(lambda node: node.op in ("placeholder", "output"))
    return graph


def _owner(node: fx.Node, model: nn.Module) -> str | None:
    """The name of the layer whose tensors a function uses in the layer's own way, or None."""
    tensors = [str(source.target).rpartition(".") for source in node.all_input_nodes if source.op == "get_attr"]
    owners = {owner for owner, _, _ in tensors}
    names = [name for _, _, name in tensors]
    if len(owners) != 1 or names[-2:] not in (["weight", "bias"], ["weight"]):
        return None
    kind = _FUNCTIONS[node.target]  # type: ignore[index]
    return tensors[0][0] if isinstance(model.get_submodule(tensors[0][0]), kind) else None


def _follow_mode(trained: fx.Graph, graph: fx.Graph, model: nn.Module) -> None:
    """Let `graph` read `training` at run time for each argument that is True in train mode and False in eval mode."""
    branches = InputError("model", type(model).__name__, "its forward does different operations in train and eval mode")
    if len(trained.nodes) != len(graph.nodes):
        raise branches
    twin: dict[fx.Node, fx.Node] = {}
    mode = None
    for one, other in zip(trained.nodes, list(graph.nodes), strict=True):
        twin[one] = other
        (ours, layout), (theirs, form) = (tree_flatten((n.args, n.kwargs)) for n in (one, other))
        ours = [twin[leaf] if isinstance(leaf, fx.Node) else leaf for leaf in ours]
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
