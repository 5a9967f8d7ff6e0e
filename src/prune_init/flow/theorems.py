"""The sums of the two conservation theorems of w dR/dw, for one run."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from prune_init.flow.connections import MeasuredFlow
from prune_init.flow.neurons import NeuronLabels
from prune_init.pruning.structures import outputs
from prune_init.tracing.nodes import adds, place


@dataclass(frozen=True, eq=False)
class Neurons:
    """The neurons that one layer is the first to write to. A neuron is a channel, joined with those added to it.

    Attributes:
        layer: the first layer that writes to these neurons.
        writers: all layers whose weights and biases lead into them.
        readers: all layers whose weights lead out of them; `output` stands for the output of the net.
        incoming: for each neuron, the sum of w dR/dw over incoming weights and biases.
        outgoing: for each neuron, the sum of w dR/dw over outgoing weights.
    """

    layer: str
    writers: tuple[str, ...]
    readers: tuple[str, ...]
    incoming: Tensor
    outgoing: Tensor

    @property
    def gap(self) -> Tensor:
        """The largest violation of theorem 1 at one of the neurons."""
        return (self.incoming - self.outgoing).abs().max()


@dataclass(frozen=True)
class Cut:
    """A set of connections such that every path from input to output crosses exactly one of them.

    Attributes:
        layer: the layer before which the net is cut.
        layers: the layers whose weights are cut.
        shortcuts: operations without weights whose input is cut; each counts as a weight of 1 in every channel.
        weights: the sum of w dR/dw over the cut weights.
        biases: the sum of b dR/db over the biases behind the cut.
        output: <dR/dy, y>.
    """

    layer: str
    layers: tuple[str, ...]
    shortcuts: tuple[str, ...]
    weights: float
    biases: float
    output: float

    @property
    def gap(self) -> Tensor:
        """The violation of theorem 2 at this cut."""
        return torch.tensor(self.weights + self.biases - self.output, dtype=torch.float64).abs()


def neuron_sums(flow: MeasuredFlow) -> list[Neurons]:
    """Theorem 1: at each hidden neuron, incoming parameters and outgoing weights have the same sum of w dR/dw.

    Neurons that the network's input reaches without a weight have no incoming parameters and are left out. The net's
    output counts as a reader with weights of 1.
    """
    channels = NeuronLabels(flow)
    writes = {node: channels.neuron[first:][: len(flow.layers[node].bias)] for node, first in channels.first.items()}
    reads = {node: channels.neuron[labels] for node, labels in channels.read.items()}
    incoming, outgoing = torch.zeros(2, len(channels.neuron), dtype=torch.float64)
    for node, layer in flow.layers.items():
        incoming.index_add_(0, writes[node], (layer.written + layer.bias).cpu())
        outgoing.index_add_(0, reads[node], layer.read.cpu())
    for node in flow.run.live:
        for constant in flow.constants(node) if node not in flow.layers else ():
            # A constant that is added belongs to the neurons of the sum; one that is concatenated has its own labels.
            labels = channels.labels[node if adds(node, flow.run.model) else constant]
            _spread(incoming, channels.neuron, labels, flow.connections[constant, node])
    end = flow.run.graph.output_node()
    outputs = [source for source in end.all_input_nodes if source in flow.run.live]
    for source in outputs:
        _spread(outgoing, channels.neuron, channels.labels[source], flow.connections[source, end])
    reads[end] = channels.neuron[torch.cat([_flat(channels.labels[source]).unique() for source in outputs])]

    rows = []
    for node, first in channels.first.items():
        own = torch.arange(first, first + len(writes[node]))
        neurons = own[channels.neuron[own] == own]
        if len(neurons):
            writers = tuple(place(other) for other, found in writes.items() if torch.isin(found, neurons).any())
            readers = tuple(place(other) for other, found in reads.items() if torch.isin(found, neurons).any())
            rows.append(Neurons(place(node), writers, readers, incoming[neurons], outgoing[neurons]))
    return rows


def cut_sums(flow: MeasuredFlow) -> list[Cut]:
    """Theorem 2: the sum over the weights of any cut and the biases behind it is <dR/dy, y>.

    There is one cut before each layer, in the order of the graph: between all operations that ran earlier and all that
    did not. If a shortcut or another branch runs parallel to the layer, its connection is cut too.
    """
    when = {node: position for position, node in enumerate(flow.run.graph.nodes)}
    bias = {node: flow.bias(node) for node in flow.run.live}
    through = {
        (source, node): float(flow.layers[node].read.sum()) if node in flow.layers else flow.between(source, node)
        for node in flow.run.live
        for source in node.all_input_nodes
        if source in flow.run.live and flow.connections[source, node]
    }
    cuts = []
    for layer in flow.layers:
        crossed = [edge for edge in through if when[edge[0]] < when[layer] <= when[edge[1]]]
        readers = sorted({node for _, node in crossed}, key=when.__getitem__)
        cuts.append(
            Cut(
                layer=place(layer),
                layers=tuple(place(node) for node in readers if node in flow.layers),
                shortcuts=tuple(place(node) for node in readers if node not in flow.layers),
                weights=sum(through[edge] for edge in crossed),
                biases=sum(b for node, b in bias.items() if when[node] >= when[layer]),
                output=flow.entering(flow.run.graph.output_node()),
            )
        )
    return cuts


def _spread(sums: Tensor, neuron: Tensor, labels: Any, flows: list[Tensor]) -> None:
    """Add flows, element by element, to the sums of the neurons given by their labels."""
    flow, neurons = torch.cat([flow.flatten() for flow in flows]).cpu(), neuron[_flat(labels)]
    sums.index_add_(0, neurons.repeat(len(flow) // len(neurons)), flow)  # an operation may read a tensor twice


def _flat(labels: Any) -> Tensor:
    return torch.cat([part.flatten() for part in outputs(labels)]).long()
