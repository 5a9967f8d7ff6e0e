"""Grouping channels into neurons: channels that are connected without a weight in between form one neuron.

Every channel that a layer writes gets a label. Labels travel through the graph as values do: an operation that moves
elements moves their labels, and channels that are added to each other become one neuron. If an operation mixes channels
in an unknown way, all channels that it mixes become one neuron, for which the law is coarser but still true.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.node import map_arg

from prune_init.flow.connections import MeasuredFlow
from prune_init.pruning.behaviour import Channels, Paths, window_axes
from prune_init.pruning.structures import mapped, outputs
from prune_init.tracing.nodes import known, module_of, operation, sources


class NeuronLabels:
    """The labels of all channels of a run, and the neuron that each belongs to, identified by its smallest label.

    Attributes:
        first: for each layer, the label of its first output channel.
        read: for each layer, the labels of its input channels.
        labels: for each operation that depends on the input, the label of each element of its result; 0: no channel.
            Each element of a constant that is concatenated with such results has a label too.
        neuron: for each label, its neuron.
    """

    def __init__(self, flow: MeasuredFlow) -> None:
        self._flow, self._run = flow, flow.run
        self._count = 1  # label 0 stands for no channel: padding and constants
        self._joined: list[Tensor] = []
        self.first: dict[fx.Node, int] = {}
        self.read: dict[fx.Node, Tensor] = {}
        self.labels: dict[fx.Node, Any] = {}
        for node in flow.run.graph.nodes:
            if node in flow.run.live and node.op != "output":
                self.labels[node] = self._label(node)
        self.neuron = _components(self._count, self._joined)

    def _label(self, node: fx.Node) -> Any:
        value = self._run.values[node]
        if node.op == "placeholder":
            return self._new(value, min(1, value.ndim - 1))
        if node in self._flow.layers:
            axis = self._flow.layers[node].axis
            self.first[node] = self._count
            self.read[node] = self._by_channel(self.labels[self._run.source(node)], axis).long()
            return self._new(value, axis)
        found = known(node, self._run.model)
        if node.target is getattr or (found and (found.moves or found.paths in (Paths.CONCAT, Paths.PAD))):
            if found and found.paths is Paths.CONCAT:
                constants = set(node.all_input_nodes) - self._run.live
                self.labels |= {s: mapped(self._each, self._run.values[s]) for s in constants}
            return self._moved(node)
        read = [s for s in sources(node, self._run.model) if s in self._run.live]
        joined = [labels for s in read for labels in outputs(self.labels[s])]
        if not isinstance(value, Tensor):
            return mapped(lambda part: self._one(joined, part) if part.is_floating_point() else part, value)
        written_in_place = any(labels.ndim > value.ndim for labels in joined)
        if found and found.elementwise and not written_in_place:
            return self._join([labels.expand(value.shape) for labels in joined])
        if found and found.channels in (Channels.PASSES, Channels.APART):
            behind = window_axes(operation(node, self._run.model)) or value.ndim - 2
            channels = self._by_channel(joined[0], -1 - behind)
            return channels.view(-1, *[1] * behind).expand(value.shape)
        if found and found.channels is Channels.REDUCES:
            return self._reduced(node, joined)
        return self._one(joined, value)

    def _new(self, value: Tensor, axis: int) -> Tensor:
        channels = torch.arange(self._count, self._count + value.shape[axis], dtype=torch.float64)
        self._count += len(channels)
        shape = [1] * value.ndim
        shape[axis] = -1
        return channels.view(shape).expand(value.shape)

    def _each(self, value: Tensor) -> Tensor:
        labels = torch.arange(self._count, self._count + value.numel(), dtype=torch.float64)
        self._count += len(labels)
        return labels.view(value.shape)

    def _moved(self, node: fx.Node) -> Any:
        """The result of the operation itself, applied to labels."""

        def label(source: fx.Node, *, nobody: bool = False) -> Any:
            value = self._run.values[source]
            if isinstance(value, Tensor) and value.is_floating_point() and (nobody or source not in self.labels):
                return torch.zeros(value.shape, dtype=torch.float64)
            labels = self.labels.get(source, value)
            return labels.contiguous() if isinstance(labels, Tensor) else labels  # `view` may need it

        moved, found = _again(node, self._run.model, label), known(node, self._run.model)
        if found is None or found.paths is not Paths.PAD:
            return moved
        # The padding constant, which may be infinite, must get label 0: subtract the result for labels that are all 0.
        return (moved - _again(node, self._run.model, partial(label, nobody=True))).nan_to_num(0)

    def _reduced(self, node: fx.Node, sources: list[Tensor]) -> Tensor:
        labels, value = sources[0], self._run.values[node]
        dims: Any = node.args[1:2] or ([node.kwargs["dim"]] if "dim" in node.kwargs else ())
        highest, lowest = (extreme(labels, *dims) for extreme in (torch.amax, torch.amin))
        return highest.view(value.shape) if torch.equal(highest, lowest) else self._one(sources, value)

    def _by_channel(self, labels: Tensor, axis: int) -> Tensor:
        """One label per channel; if a channel holds several labels, these become one neuron."""
        rows = labels.movedim(axis, 0).reshape(labels.shape[axis], -1)  # a vector has no other axes
        label = rows.amax(1)
        same = (rows == label[:, None]) | (rows == 0)
        if not same.all():
            self._join([label[:, None].expand_as(rows), rows])
        return label

    def _join(self, parts: list[Tensor]) -> Tensor:
        first, *others = parts
        for other in others:
            pairs = (first * self._count + other).flatten().long().unique_consecutive()
            self._joined.append(torch.stack([pairs // self._count, pairs % self._count]))
            first = torch.where(first == 0, other, first)
        return first

    def _one(self, sources: list[Tensor], value: Tensor) -> Tensor:
        """Join all labels in `sources` into one neuron, and return a result that belongs to it."""
        every = torch.cat([torch.zeros(1), *(labels.unique() for labels in sources)]).long()
        highest = every.max()
        self._joined.append(torch.stack([every, highest.expand_as(every)]))
        return torch.full(value.shape, float(highest), dtype=torch.float64)


def _again(node: fx.Node, model: nn.Module, value: Callable[[fx.Node], Any]) -> Any:
    """The result of an operation without parameters, given the values of its inputs."""
    args, kwargs = map_arg(node.args, value), map_arg(node.kwargs, value)
    if node.op == "call_module":
        return module_of(node, model)(*args, **kwargs)
    if node.op == "call_method":
        return getattr(args[0], str(node.target))(*args[1:], **kwargs)
    return node.target(*args, **kwargs)  # type: ignore[operator]


def _components(count: int, pairs: list[Tensor]) -> Tensor:
    """For each of 0..count-1, the smallest member of its component in the graph of these edges; 0 joins nothing."""
    smallest = torch.arange(count)
    edges = torch.cat([pair[:, (pair > 0).all(0)] for pair in pairs], 1).unique(dim=1) if pairs else None
    while edges is not None:
        low = smallest[edges].amin(0)
        lower = smallest.scatter_reduce(0, edges.flatten(), low.repeat(2), "amin")
        lower = lower[lower]
        if torch.equal(lower, smallest):
            break
        smallest = lower
    return smallest
