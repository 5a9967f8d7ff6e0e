"""The smaller net: plain layers with fewer channels, joined as the net joins them."""

import copy
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.node import map_arg

from prune_init.compaction.alignment import Align, IndexAdd
from prune_init.compaction.graph import ChannelGraph
from prune_init.compaction.liveness import Liveness
from prune_init.compaction.rules import Rule, WeightFacts
from prune_init.pruning.masks import Tensors
from prune_init.traced import place

Index = tuple[Tensor, ...]


class CompactNet(fx.GraphModule):
    """Plain layers by their old names, and the operations between them."""

    def __deepcopy__(self, memo: dict[int, Any]) -> "CompactNet":
        twin: Any = super().__deepcopy__(memo)
        for name in ("compaction", "input_shape"):  # fx copies the graph and what it refers to, nothing else
            if hasattr(self, name):
                setattr(twin, name, getattr(self, name))
        return twin


class Builder:
    """The graph of the smaller net while it is written, operation by operation; see `emission`.

    Every value keeps at least one channel, so that its other sizes are known where it is filled up with zeros.

    Attributes:
        graph: what is written.
        modules: what it refers to.
        index: where each smaller parameter and buffer is in the whole one: `whole[index]`.
        rules, values: of each operation of the whole net, its rule, and what stands for it in the smaller one.
        left_alone: operations and layers that could not be made as small as they might be, and why.
    """

    def __init__(
        self, net: ChannelGraph, rules: dict[fx.Node, Rule], tensors: Tensors, facts: WeightFacts, liveness: Liveness
    ) -> None:
        self.net, self.facts, self.liveness = net, facts, liveness
        self.graph = fx.Graph()
        self.modules: dict[str, Any] = {}
        self.index: dict[str, Index] = {}
        self.left_alone: dict[str, str] = {}
        self.rules = rules
        self._tensors = tensors
        self.values: dict[fx.Node, fx.Node] = {}
        self._kept: dict[fx.Node, Tensor] = {}
        self._aligned: dict[tuple[fx.Node, int, tuple[int, ...]], fx.Node] = {}
        self._copies: dict[int, Any] = {}  # tensors that modules share stay shared

    def finished(self) -> CompactNet:
        """The net of what was written."""
        self.graph.output(map_arg(self.net.graph.output_node().args[0], self.whole))
        self.graph.eliminate_dead_code(lambda node: node.op in ("placeholder", "output"))
        model = self.net.model
        small: Any = CompactNet(self.modules, self.graph, class_name=type(model).__name__)
        small.training = model.training
        if hasattr(model, "input_shape"):
            small.input_shape = model.input_shape
        return small

    def needed(self, node: fx.Node) -> Tensor:
        """The channels that are needed, at least one."""
        needed = self.liveness.needed(node).nonzero().flatten()
        return needed if len(needed) else torch.zeros(1, dtype=torch.long)

    def stored(self, source: fx.Node, reader: Rule) -> Tensor:
        """The channels of `source` that there are, as `reader` counts them."""
        if self.rules[source].axis == reader.reads and source in self._kept:
            return self._kept[source]
        return torch.arange(reader.widths[reader.sources.index(source)])

    def carried(self, node: fx.Node, source: fx.Node) -> Tensor:
        """The channels that an operation on each channel keeps: those it needs.

        If nobody else reads its input, spare channels of the input come along, which is cheaper than a gather.
        """
        needed, stored = self.needed(node), self.stored(source, self.rules[node])
        return stored if len(source.users) == 1 and torch.isin(needed, stored).all() else needed

    def overlap(self, source: fx.Node, reader: Rule, wanted: Tensor) -> Tensor:
        """Those of the `wanted` channels that `source` has."""
        return wanted[torch.isin(wanted, self.stored(source, reader))]

    def whole(self, source: fx.Node) -> fx.Node:
        """The value of `source` as the net knows it; the removed channels are 0."""
        if source not in self._kept:
            return self.values[source]
        rule = self.rules[source]
        return self._align(source, self._kept[source], torch.arange(rule.wide_out), rule.axis)

    def aligned(self, source: fx.Node, reader: Rule, wanted: Tensor) -> fx.Node:
        """The `wanted` channels of `source`; those it does not have are 0. What is broadcast stays as it is."""
        if reader.reads is None:
            return self.whole(source)
        if self.rules[source].axis == reader.reads and self.rules[source].wide_out > 1:
            return self._align(source, self._kept[source], wanted, reader.reads)
        shape = self.net.shapes[source]
        if len(shape) < -reader.reads or shape[reader.reads] == 1:
            return self.whole(source)
        return self._align(source, torch.arange(shape[reader.reads]), wanted, reader.reads)

    def _align(self, source: fx.Node, have: Tensor, wanted: Tensor, axis: int | None) -> fx.Node:
        value = self.whole(source) if self.rules[source].axis != axis else self.values[source]
        if torch.equal(have, wanted) or axis is None:
            return value
        key = (value, axis, tuple(wanted.tolist()))
        if key not in self._aligned:
            place_of = torch.full((max(int(have.max()), int(wanted.max())) + 1,), len(have))
            place_of[have] = torch.arange(len(have))
            self._aligned[key] = self._call(Align(place_of[wanted], axis, zero=len(have)), value)
        return self._aligned[key]

    def index_add(self, x: fx.Node, part: fx.Node, axis: int | None, index: Tensor) -> fx.Node:
        """Add `part` to these channels of x."""
        assert axis is not None
        return self._call(IndexAdd(index, axis), x, part)

    def keep(self, node: fx.Node, channels: Tensor, value: fx.Node) -> fx.Node:
        """Note which channels `value` has."""
        if self.rules[node].axis is not None:
            self._kept[node] = channels
        return value

    def copy(self, node: fx.Node, replaced: dict[fx.Node, fx.Node]) -> fx.Node:
        """The same operation on other values, by default the stored ones."""
        target = str(node.target)
        if node.op == "call_module" and target not in self.modules:
            self.modules[target] = copy.deepcopy(self.net.module(node), self._copies)
        if node.op == "get_attr":
            self.modules[target] = copy.deepcopy(self.net.attribute(node), self._copies)
        return self.graph.node_copy(node, lambda source: replaced.get(source, self.values[source]))

    def layer(self, node: fx.Node, smaller: nn.Module, index: dict[str, Index]) -> None:
        """Let `node` call `smaller`, its tensors being `index` of those of the layer it replaces."""
        name, old = str(node.target), self.net.module(node)
        for key in smaller.state_dict():
            where = index.get(key, ())
            part = self._tensors[f"{name}.{key}"][where].clone()
            self.index[f"{name}.{key}"] = where
            whole = getattr(old, key)
            setattr(smaller, key, nn.Parameter(part, whole.requires_grad) if isinstance(whole, nn.Parameter) else part)
        self.modules[name] = smaller.train(old.training)

    def leave(self, node: fx.Node, reason: str) -> None:
        """Say that `node` is not as small as it might be."""
        self.left_alone[place(node)] = reason

    def _call(self, module: nn.Module, *values: fx.Node) -> fx.Node:
        name = f"align_{len(self.modules)}"
        self.modules[name] = module.to(next(self.net.model.parameters()).device)
        return self.graph.call_module(name, values)
