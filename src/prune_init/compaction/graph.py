"""Trace a net into one graph for train and eval mode, with the shape of every tensor."""

from collections import Counter
from contextlib import suppress
from operator import attrgetter, getitem
from typing import Any

import torch
from torch import Tensor, fx, nn

from prune_init.compaction.layer_calls import call_layer, layer_calls
from prune_init.compaction.modes import follow_mode, in_both_modes
from prune_init.compaction.state import autocast_told, warn_of_state
from prune_init.errors import InputError, fits
from prune_init.pruning.checks import check_batch
from prune_init.pruning.copies import copied
from prune_init.pruning.undisturbed import undisturbed
from prune_init.tracing.sizes import acts


class ChannelGraph:
    """The operations of a net and the shapes of the tensors between them. The net itself is not changed.

    Attributes:
        model: the net.
        graph: its operations. Batch norms are module calls, however the net's code calls them; an argument that is
            True in train and False in eval mode is read from the attribute `training`; what train mode computes
            without gradients is detached.
        root: the copy of the net whose modules and tensors the graph refers to.
        dtype: the type of the net's input: that of the example, if the net takes it, else that of its parameters.
        shapes: the shape of every tensor in the graph, for a batch of two.
        frozen: the names of the modules that the net's own `train` leaves in eval mode.
    """

    def __init__(self, model: nn.Module, example_input: Tensor) -> None:
        check_batch("example_input", example_input)
        self.model = model
        trained = shell(model).train()
        self.root = shell(model).eval()
        with undisturbed(model, next(model.parameters()).device, seed=0):
            with autocast_told():
                self.graph, other = in_both_modes(self.root, trained, example_input)
            layers, same = layer_calls(self.graph, self.root), layer_calls(other, trained)
            common = layers.keys() & same.keys()
            for calls, net in ((layers, self.root), (same, trained)):
                for name in common:
                    call_layer(name, calls[name], net)
            follow_mode(_cleaned(other, trained), _cleaned(self.graph, self.root), model)
            self.frozen = [name for name, module in trained.named_modules() if not module.training]
            warn_of_state(model, (self.root, trained), common)
            self.dtype, values = self._tried(example_input)
            _detach(self.graph, values)
            self.shapes = {node: x.shape for node, x in values.items()}

    def _tried(self, example_input: Tensor) -> tuple[torch.dtype, dict[fx.Node, Tensor]]:
        """The values in the example's own dtype, or in that of most parameters if the net cannot be run in the former.

        Integers and Booleans are not converted.
        """
        dtype = example_input.dtype
        usual, _ = Counter(parameter.dtype for parameter in self.model.parameters()).most_common(1)[0]
        if example_input.is_floating_point() and dtype != usual:
            with suppress(InputError):
                return dtype, self.values(example_input, dtype)
            dtype = usual
        return dtype, self.values(example_input, dtype)

    @torch.no_grad()
    def values(self, example_input: Tensor, dtype: torch.dtype | None = None) -> dict[fx.Node, Tensor]:
        """The tensor at each node, in eval mode, for a batch of two inputs of zeros."""
        for name, buffer in self.model.named_buffers():
            self.root.get_buffer(name).copy_(buffer)
        device = next(self.model.parameters()).device
        recorder = _Recorder(fx.GraphModule(self.root, self.graph))
        with fits(
            self.model, "example_input", list(example_input.shape), lambda error: "; its first axis is the batch"
        ):
            recorder.run(torch.zeros((2, *example_input.shape[1:]), dtype=dtype or self.dtype, device=device))
        return recorder.tensors

    def attribute(self, node: fx.Node) -> Any:
        """What a `get_attr` node reads: a part of the net, or a tensor that its forward creates."""
        read = attrgetter(str(node.target))
        try:
            return read(self.model)
        except AttributeError:
            return read(self.root)


class _Recorder(fx.Interpreter):
    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.tensors: dict[fx.Node, Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if isinstance(value, Tensor):
            self.tensors[n] = value
        return value


def shell(model: nn.Module) -> nn.Module:
    """A copy that shares the parameters: tracing runs forward, which may change buffers and set attributes."""
    return copied(model, {id(parameter): parameter for parameter in model.parameters()})


def _cleaned(graph: fx.Graph, model: nn.Module) -> fx.Graph:
    """Remove assertions and what nothing depends on; a change in place stays, as something else may read the tensor."""
    for node in list(graph.nodes):
        if node.target is torch._assert:
            graph.erase_node(node)
    graph.eliminate_dead_code(lambda node: node.op in ("placeholder", "output") or acts(node, model))
    return graph


def _detach(graph: fx.Graph, values: dict[fx.Node, Tensor]) -> None:
    """Detach the tensors that forward computes under `torch.no_grad`, where other operations read them."""
    apart: set[fx.Node] = set()
    for node in list(graph.nodes):
        part = node.target is getitem and node.args[0] in apart - values.keys()  # of a tuple that was computed so
        if node.op.startswith("call") and (part or not node.meta["gradients"]):
            apart.add(node)
    for node in [node for node in values if node in apart]:
        readers = [user for user in node.users if user not in apart]
        with graph.inserting_after(node):
            detached = graph.call_method("detach", (node,))
        for reader in readers:
            reader.replace_input_with(node, detached)
        values[detached] = values[node]
