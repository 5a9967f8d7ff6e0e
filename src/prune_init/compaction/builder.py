"""Build the smaller net: plain layers with fewer channels, connected as in the whole net."""

import copy
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.node import map_arg

from prune_init.compaction.alignment import Align, IndexAdd
from prune_init.compaction.compact_net import CompactNet, Decided, Mode, Returned
from prune_init.compaction.graph import ChannelGraph
from prune_init.compaction.layer_calls import as_torch
from prune_init.compaction.liveness import Liveness
from prune_init.compaction.rules import Rule, WeightFacts
from prune_init.pruning.copies import computed
from prune_init.pruning.masks import Tensors
from prune_init.tracing.nodes import makes_structure, module_of, place
from prune_init.tracing.sizes import acts, check_size

Index = tuple[Tensor, ...]


class Builder:
    """The graph of the smaller net while it is written, one operation after the other; see `emission`.

    Every value keeps at least one channel, needed or not: zeros for removed channels take their shape from it.

    Attributes:
        graph: the graph that is written.
        modules: the modules and tensors that it refers to, by name.
        index: the position of each smaller parameter and buffer in the whole one: `whole[index]`.
        rules, values: for each operation of the whole net, its rule and the node that replaces it in the smaller net.
        left_alone: operations and layers that are larger than they might be, and why.
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
        self._copies = computed(net.model)  # deepcopy's memo: tensors that modules share stay shared

    def finished(self) -> CompactNet:
        """Return the net of the finished graph."""
        self.graph.output(map_arg(self.net.graph.output_node().args[0], self.whole))
        model = self.net.model
        acting = {value for node, value in self.values.items() if acts(node, model)}
        self.graph.eliminate_dead_code(lambda node: node.op in ("placeholder", "output") or node in acting)
        small: Any = CompactNet(self.modules, self.graph, class_name=type(model).__name__)
        small.training = model.training
        kept = dict(small.named_modules())
        small.frozen = [name for name in self.net.frozen if name in kept]
        if hasattr(model, "input_shape"):
            small.input_shape = model.input_shape
        return small

    def needed(self, node: fx.Node) -> Tensor:
        """The channels of `node` that are needed, or the first one if none is."""
        needed = self.liveness.needed(node).nonzero().flatten()
        return needed if len(needed) else torch.zeros(1, dtype=torch.long)

    def stored(self, source: fx.Node, reader: Rule) -> Tensor:
        """The channels that `source` has in the smaller net, counted along the axis that `reader` reads."""
        if self.rules[source].axis == reader.reads and source in self._kept:
            return self._kept[source]
        return torch.arange(reader.widths[reader.sources.index(source)])

    def carried(self, node: fx.Node, source: fx.Node) -> Tensor:
        """The channels that a channelwise operation keeps: those that are needed, or all that its input has.

        All are kept if nothing else reads the input and no needed one is missing: that is cheaper than a gather.
        """
        needed, stored = self.needed(node), self.stored(source, self.rules[node])
        return stored if len(source.users) == 1 and torch.isin(needed, stored).all() else needed

    def overlap(self, source: fx.Node, reader: Rule, wanted: Tensor) -> Tensor:
        """The `wanted` channels that `source` has in the smaller net."""
        return wanted[torch.isin(wanted, self.stored(source, reader))]

    def whole(self, source: fx.Node) -> fx.Node:
        """The value of `source` with all channels of the whole net; the removed ones are 0."""
        if source not in self._kept:
            return self.values[source]
        rule = self.rules[source]
        return self._align(source, self._kept[source], torch.arange(rule.wide_out), rule.axis)

    def aligned(self, source: fx.Node, reader: Rule, wanted: Tensor) -> fx.Node:
        """The `wanted` channels of `source`; those it does not have are 0. A tensor that is broadcast stays whole."""
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
        """Add `part` to the channels `index` of `x`."""
        assert axis is not None
        return self._call(IndexAdd(index, axis), x, part)

    def keep(self, node: fx.Node, channels: Tensor, value: fx.Node) -> fx.Node:
        """Record which channels `value`, which stands for `node`, has; return it."""
        if self.rules[node].axis is not None:
            self._kept[node] = channels
        return value

    def copy(self, node: fx.Node, replaced: dict[fx.Node, fx.Node]) -> fx.Node:
        """Copy an operation, its inputs replaced by those of `replaced`, else by those of the smaller net."""
        target = str(node.target)
        if node.op == "get_attr" and target == "training":
            return self._call(Mode().train(self.net.model.training))
        if node.target is check_size:
            (number,) = node.all_input_nodes
            return self._call(Decided(*node.args[1:]), replaced.get(number, self.values[number]))  # type: ignore[arg-type]
        if makes_structure(node):
            parts: Any = map_arg(node.kwargs, lambda source: replaced.get(source, self.values[source]))
            kind: Any = node.target
            return self._call(Returned(kind, tuple(parts)), *parts.values())
        if node.op == "call_module" and target not in self.modules:
            module = copy.deepcopy(module_of(node, self.net.model), self._copies)
            self.modules[target] = as_torch(module) if node.meta.get("layer") else module
        if node.op == "get_attr":
            self.modules[target] = copy.deepcopy(self.net.attribute(node), self._copies)
        return self.graph.node_copy(node, lambda source: replaced.get(source, self.values[source]))

    def layer(self, node: fx.Node, smaller: nn.Module, index: dict[str, Index]) -> None:
        """Let `node` call `smaller`, whose tensors are the parts `index` of those of the layer that it replaces."""
        name, old = str(node.target), module_of(node, self.net.model)
        for key in smaller.state_dict():
            where = index.get(key, ())
            part = self._tensors[f"{name}.{key}"][where].clone()
            self.index[f"{name}.{key}"] = where
            whole = getattr(old, key)
            setattr(smaller, key, nn.Parameter(part, whole.requires_grad) if isinstance(whole, nn.Parameter) else part)
        self.modules[name] = smaller.train(old.training)

    def leave(self, node: fx.Node, reason: str) -> None:
        """Record why `node` is larger than it might be."""
        self.left_alone[place(node)] = reason

    def _call(self, module: nn.Module, *values: fx.Node) -> fx.Node:
        name = f"{type(module).__name__.lower()}_{len(self.modules)}"
        self.modules[name] = module.to(next(self.net.model.parameters()).device)
        return self.graph.call_module(name, values)
