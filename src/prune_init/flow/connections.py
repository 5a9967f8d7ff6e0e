"""The flow <dR/dz, z> through every connection of a net.

A connection leads from an operation to one that reads its result z; where z has several readers, each takes its own
share of <dR/dz, z>. By Euler's theorem an operation that is homogeneous of degree 1 passes on what flows in: the one
fact that both conservation theorems rest on.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from prune_init.errors import InputError, first_line
from prune_init.flow.layer_flow import LayerFlow, layer_flow
from prune_init.flow.run import GraphRun
from prune_init.pruning.operations import Channels, Paths
from prune_init.traced import known


@dataclass(frozen=True, eq=False)
class MeasuredFlow:
    """What one run of the net carried.

    Attributes:
        run: the operations, in the order they ran, and their results.
        layers: flow through the parameters of the layers.
        connections: z * dR/dz for each tensor that an operation without parameters reads from another.
    """

    run: GraphRun
    layers: dict[fx.Node, LayerFlow]
    connections: dict[tuple[fx.Node, fx.Node], list[Tensor]]

    def between(self, node: fx.Node, reader: fx.Node) -> float:
        """The flow from a node to one of its readers."""
        if reader in self.layers:
            return float(self.layers[reader].read.sum())
        return float(sum(flow.sum() for flow in self.connections[node, reader]))

    def bias(self, node: fx.Node) -> float:
        """The flow that begins at a node: at a layer's bias, or at a constant that is added."""
        if node in self.layers:
            return float(self.layers[node].bias.sum())
        found = known(node, self.run.model)
        if found is None or not (found.channels is Channels.SUM or found.paths is Paths.CONCAT):
            return 0.0  # a constant is a bias only where all operands together are read linearly
        return sum(self.between(constant, node) for constant in node.all_input_nodes if constant not in self.run.live)

    def entering(self, node: fx.Node) -> float:
        """The flow that its inputs bring to a node."""
        return sum(self.between(source, node) for source in node.all_input_nodes if source in self.run.live)

    def leaving(self, node: fx.Node) -> float:
        """The flow that the readers of a node take."""
        return sum(self.between(node, reader) for reader in node.users)

    def gross(self, node: fx.Node) -> float:
        """The sum of absolute values of all terms that flow into a node, which rounding errors are proportional to."""
        if node in self.layers:
            return float(self.layers[node].gross)
        return sum(float(z.abs().sum()) for source in node.all_input_nodes for z in self.connections[source, node])


def measure(run: GraphRun, objective: Callable[[Any], Tensor]) -> MeasuredFlow:
    """Differentiate R = objective(output) by all that the run made variable.

    Raises:
        InputError: the objective is not a number that depends on the output.
    """
    try:
        scalar = objective(next(reversed(run.values.values())))
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise InputError("objective", objective, f"fails on the model's output: {first_line(error)}") from error
    if not isinstance(scalar, Tensor) or scalar.numel() != 1 or not scalar.requires_grad:
        raise InputError("objective", objective, "must map the model's output to one number that depends on it")
    leaves = [w for layer in run.layers.values() for w in layer.own.values()]
    ends = [z for connection in run.connections.values() for z in connection]
    found = torch.autograd.grad(scalar.sum(), leaves + ends, materialize_grads=True)
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


def _product(z: Tensor, gradient: Tensor) -> Tensor:
    # Padding of -inf before a max pool is never the maximum, so that nothing flows: 0 * inf would be NaN.
    return torch.where(gradient == 0, 0, z * gradient)
