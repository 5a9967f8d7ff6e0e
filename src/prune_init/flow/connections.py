"""The flow <dR/dz, z> through every connection of a net.

A connection leads from an operation to one that reads its result z; if z has several readers, each takes its own
share of <dR/dz, z>. By Euler's theorem, an operation that is homogeneous of degree 1 has the same flow at its output
as at its input. Both conservation theorems rest on this fact alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from prune_init.errors import InputError, ModelError, first_line
from prune_init.flow.layer_flow import LayerFlow, layer_flow
from prune_init.flow.run import GraphRun
from prune_init.pruning.behaviour import Channels, Paths
from prune_init.tracing.nodes import known

BREAKS = 1e-9
"""An operation breaks the law if it changes the flow by more than this fraction, far more than rounding does."""


@dataclass(frozen=True, eq=False)
class MeasuredFlow:
    """The flow measured in one run of the net.

    Attributes:
        run: the operations, in the order they ran, and their results.
        layers: the flow through the parameters of each layer.
        connections: z * dR/dz for each tensor that an operation reads, by (source, reader).
    """

    run: GraphRun
    layers: dict[fx.Node, LayerFlow]
    connections: dict[tuple[fx.Node, fx.Node], list[Tensor]]

    def between(self, node: fx.Node, reader: fx.Node) -> float:
        """The flow from a node to one of its readers."""
        return float(sum(flow.sum() for flow in self.connections[node, reader]))

    def bias(self, node: fx.Node) -> float:
        """The flow that begins at a node: at a layer's bias, or at a constant that is added."""
        if node in self.layers:
            return float(self.layers[node].bias.sum())
        return sum(self.between(constant, node) for constant in self.constants(node))

    def constants(self, node: fx.Node) -> list[fx.Node]:
        """The constants that act as biases: those in an operation that is linear in all operands together."""
        found = known(node, self.run.model)
        if found is None or not (found.channels is Channels.SUM or found.paths is Paths.CONCAT):
            return []
        return [s for s in node.all_input_nodes if s not in self.run.live and self.connections[s, node]]

    def entering(self, node: fx.Node) -> float:
        """The flow into a node from its inputs that depend on the net's input."""
        return sum(self.between(source, node) for source in node.all_input_nodes if source in self.run.live)

    def leaving(self, node: fx.Node) -> float:
        """The flow from a node to all its readers."""
        return sum(self.between(node, reader) for reader in node.users)

    def misread(self, node: fx.Node) -> bool:
        """Whether the weights of a layer read another flow than that into its input channels, as behind a hook."""
        layer, (z,) = self.layers[node], self.connections[self.run.source(node), node]
        into = z.movedim(layer.axis, 0).reshape(len(layer.read), -1)
        return bool((into.sum(1) - layer.read).abs().max() > BREAKS * (layer.gross + z.abs().sum()))

    def gross(self, node: fx.Node) -> float:
        """The sum of the absolute values of all flow terms into a node, to which rounding errors are proportional."""
        if node in self.layers:
            return float(self.layers[node].gross)
        return sum(float(z.abs().sum()) for source in node.all_input_nodes for z in self.connections[source, node])


def measure(run: GraphRun, objective: Callable[[Any], Tensor]) -> MeasuredFlow:
    """Differentiate R = objective(output) by every connection and parameter of the run, and multiply by their values.

    Raises:
        InputError: the output does not depend on the input, or the objective fails, does not return one real number
            that depends on the output, or depends on the model's parameters in another way too.
    """
    if not any(source in run.live for source in run.graph.output_node().all_input_nodes):
        raise ModelError(run.model, "its output does not depend on the input differentiably")
    scalar = _scalar(run, objective)
    leaves = [w for layer in run.layers.values() for w in layer.own.values()]
    ends = [z for connection in run.connections.values() for z in connection]
    found = torch.autograd.grad(scalar, leaves + ends, materialize_grads=True)
    gradient = {id(z): g for z, g in zip(leaves + ends, found, strict=True)}
    return MeasuredFlow(
        run=run,
        layers={
            node: layer_flow(
                layer, {name: gradient[id(w)] for name, w in layer.own.items()}, run.values[run.source(node)]
            )
            for node, layer in run.layers.items()
        },
        connections={
            key: [_product(z.detach(), gradient[id(z)]) for z in ends] for key, ends in run.connections.items()
        },
    )


def _scalar(run: GraphRun, objective: Callable[[Any], Tensor]) -> Tensor:
    try:
        scalar = objective(next(reversed(run.values.values())))
    except Exception as error:  # the user's own code may fail in any way
        raise InputError("objective", objective, f"fails on the model's output: {first_line(error)}") from error
    if not isinstance(scalar, Tensor) or scalar.numel() != 1 or not scalar.requires_grad or scalar.is_complex():
        raise InputError("objective", objective, "must map the model's output to one real number that depends on it")
    scalar, own = scalar.sum(), [w for w in run.model.parameters() if w.requires_grad]
    if own and any(g is not None for g in torch.autograd.grad(scalar, own, retain_graph=True, allow_unused=True)):
        why = (
            "depends on the model's parameters besides its output: leave out weight decay and other calls of the model"
        )
        raise InputError("objective", objective, why)
    return scalar


def _product(z: Tensor, gradient: Tensor) -> Tensor:
    if z.is_complex():
        return _product(torch.view_as_real(z), torch.view_as_real(gradient)).sum(-1)
    # No gradient reaches a padding of -inf before a max pool: its flow is 0, but the product 0 * inf would be NaN.
    return torch.where(gradient == 0, 0, z * gradient)
