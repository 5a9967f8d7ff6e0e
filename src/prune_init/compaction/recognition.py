"""Find the rule of each operation of a net; operations without one are left alone and reported."""

from collections import Counter
from collections.abc import Hashable
from math import prod
from operator import getitem
from typing import Any

from torch import Tensor, fx

from prune_init.compaction.graph import ChannelGraph
from prune_init.compaction.joins import Concat, Join, ProductRule
from prune_init.compaction.layers import LAYERS, NORMS, LayerRule, NormRule
from prune_init.compaction.rules import Channelwise, Query, Reshape, Rule, Squeeze
from prune_init.pruning.behaviour import Channels, Operation
from prune_init.tracing.nodes import is_layer, known, makes_structure, module_of, operation
from prune_init.tracing.sizes import check_size


def recognised(net: ChannelGraph) -> tuple[dict[fx.Node, Rule], dict[fx.Node, str]]:
    """The rule of each node, in the order of the graph, and the unknown operations, each with a remark or ""."""
    rules: dict[fx.Node, Rule] = {}
    unknown = {}
    seen = _Recogniser(net, rules)
    for node in net.graph.nodes:
        if node.op == "output":
            continue
        rule = seen.rule(node)
        rules[node] = rule or Rule(node, node.all_input_nodes)
        if rule is None and seen.could_be_smaller(node):
            unknown[node] = seen.more(node)
    return rules, unknown


class _Recogniser:
    def __init__(self, net: ChannelGraph, rules: dict[fx.Node, Rule]) -> None:
        self._net = net
        self._rules = rules
        self._uses: Counter[Hashable] = Counter()
        for node in net.graph.nodes:
            if node.op == "call_module":
                self._uses.update(self._used(node))
            elif node.op == "get_attr" and isinstance(tensor := net.attribute(node), Tensor):
                self._uses[_where(tensor)] += 1

    def could_be_smaller(self, node: fx.Node) -> bool:
        """Whether a rule could save work: the operation has weights, or reads more than the net's input."""
        weighted = node.op == "call_module" and any(True for _ in self._module(node).parameters())
        tensors = [source for source in node.all_input_nodes if source in self._net.shapes]
        computes = node.op != "get_attr" and not makes_structure(node)
        return weighted or (computes and any(source.op != "placeholder" for source in tensors))

    def more(self, node: fx.Node) -> str:
        """The remark on an unknown operation."""
        layer = node.op == "call_module" and isinstance(self._module(node), (*LAYERS, *NORMS))
        return " whose weights are used twice" if layer and not self._alone(node) else ""

    def rule(self, node: fx.Node) -> Rule | None:
        """The rule of `node`, or None if what it does to channels is not known."""
        if not node.op.startswith("call"):
            return None
        found = known(node, self._net.model)
        tensors = [source for source in node.all_input_nodes if source in self._net.shapes]
        if node not in self._net.shapes:
            return self._query(node, found)
        if not tensors or found is None:
            return None
        match found.channels:
            case Channels.LAYER | Channels.BATCH_NORM:
                return self._layer(node, tensors[0])
            case Channels.CONCAT:
                return self._concat(node, found)
            case Channels.RESHAPE:
                return self._reshape(node, tensors[0])
            case Channels.SUM | Channels.PRODUCT | Channels.QUOTIENT:
                return self._pointwise(node, found.channels, tensors)
            case Channels.STOPS | Channels.PASSES | Channels.LIFTS if self._pools_positions(node, found):
                return self._each(node, tensors, found.channels)
            case Channels.PAD if self._pads_zeros(node):
                return self._each(node, tensors)
            case Channels.REDUCES if self._reduces_positions(node):
                return self._each(node, tensors)
        return None

    def _layer(self, node: fx.Node, source: fx.Node) -> Rule | None:
        if node.op != "call_module" or not isinstance(module := self._module(node), (*LAYERS, *NORMS)):
            return None
        axis = 1 - len(self._net.shapes[source])
        if not self._alone(node) or set(module._parameters) != {"weight", "bias"}:  # reparametrised, for instance
            return None
        if not (node.meta.get("layer") or is_layer(module)):
            return None
        if isinstance(module, NORMS):
            return NormRule(node, source, module, axis, self._net.shapes[source][axis])
        rule = LayerRule(node, source, module)
        if rule.transposed and rule.groups > 1:
            return None
        return rule if rule.reads in (axis, -1) else None

    def _module(self, node: fx.Node) -> Any:
        return module_of(node, self._net.model)

    def _alone(self, node: fx.Node) -> bool:
        """Whether nothing else in the net uses the module that `node` calls, or its tensors."""
        return all(self._uses[one] == 1 for one in self._used(node))

    def _used(self, node: fx.Node) -> list[Hashable]:
        """A called module and where its tensors lie, which is the same place for tensors that are tied."""
        module, parts = self._module(node), not node.meta.get("layer")  # the parts of a replaced layer are called apart
        return [module, *map(_where, (*module.parameters(parts), *module.buffers(parts)))]

    def _concat(self, node: fx.Node, found: Operation) -> Rule | None:
        given = found.bound(node.args, node.kwargs)
        sources, dim, rank = given["tensors"], given.get("dim", 0), len(self._net.shapes[node])
        if not isinstance(sources, (list, tuple)) or not isinstance(dim, int):
            return None
        axis = dim % rank - rank
        if any(self._rules[source].axis not in (axis, None) for source in sources) or axis == -rank:
            return None
        if all(self._rules[source].axis is None for source in sources) or len(set(sources)) < len(sources):
            return None
        return Concat(node, list(sources), axis, [self._net.shapes[source][axis] for source in sources])

    def _reshape(self, node: fx.Node, source: fx.Node) -> Rule | None:
        before, after = self._net.shapes[source], self._net.shapes[node]
        if self._rules[source].axis != 1 - len(before) or not Reshape.fits(before, after):
            return None
        if operation(node, self._net.model) != "squeeze":
            return Reshape(node, source, before, after)
        dims = _argument(node, "dim")
        dims = range(len(before)) if dims is None else [dims] if isinstance(dims, int) else dims
        return Squeeze(node, source, before, after, dims) if before[1] > 1 else None  # a single channel would go

    def _pointwise(self, node: fx.Node, channels: Channels, tensors: list[fx.Node]) -> Rule | None:
        axes = {axis for source in tensors if (axis := self._rules[source].axis) is not None}
        if len(tensors) == 1 and len(node.args) == 2:
            number = next((argument for argument in node.args if argument is not tensors[0]), 0)
            if channels is Channels.QUOTIENT and (node.args[0] is not tensors[0] or node.args[1] is tensors[0]):
                return None  # channels that are 0 would be in the denominator
            lifts = channels is Channels.SUM and number != 0
            return self._each(node, tensors, Channels.LIFTS if lifts else Channels.PASSES)
        if len(axes) != 1 or len(tensors) != 2 or channels is Channels.QUOTIENT:
            return None
        (axis,) = axes
        kind = Join if channels is Channels.SUM else ProductRule
        return kind(node, tensors, axis, self._net.shapes[node][axis])

    def _each(self, node: fx.Node, tensors: list[fx.Node], at_zero: Channels = Channels.PASSES) -> Rule | None:
        """The rule of an operation on each channel by itself, which may drop axes to the right of the channels."""
        if len(tensors) > 1:
            return None
        (source,) = tensors
        before, after = self._net.shapes[source], self._net.shapes[node]
        axis = self._rules[source].axis
        if axis is None:
            return Channelwise(node, source, (None, None), 1, at_zero)
        moved = axis + len(before) - len(after)
        same = moved < 0 and prod(before[: axis + 1 or None]) == prod(after[: moved + 1 or None])
        return Channelwise(node, source, (axis, moved), before[axis], at_zero) if same else None

    def _pools_positions(self, node: fx.Node, found: Operation) -> bool:
        """Whether the axes that an operation pools or resizes, if it does, lie behind the channels."""
        source = node.all_input_nodes[0]
        axis, rank = self._rules[source].axis, len(self._net.shapes[source])
        return axis is None or -axis > found.positions_of(operation(node, self._net.model), rank)

    def _pads_zeros(self, node: fx.Node) -> bool:
        if node.op == "call_module":  # only constant and zero padding have a value
            module = self._module(node)
            amounts, zeros = module.padding, getattr(module, "value", None) == 0
        else:
            amounts = _argument(node, "pad")
            mode, value = node.kwargs.get("mode", "constant"), node.kwargs.get("value")
            zeros = len(node.args) < 3 and mode == "constant" and not value
        axis = self._rules[node.all_input_nodes[0]].axis
        return bool(zeros and axis is not None and len(amounts) <= -2 * (axis + 1))

    def _reduces_positions(self, node: fx.Node) -> bool:
        source = node.all_input_nodes[0]
        dims, axis, rank = _argument(node, "dim"), self._rules[source].axis, len(self._net.shapes[source])
        dims = dims or range(rank) if isinstance(dims, (list, tuple)) or dims is None else [dims]
        return axis is None or all(isinstance(dim, int) and dim % rank > axis + rank for dim in dims)

    def _query(self, node: fx.Node, found: Operation | None) -> Rule | None:
        """The rule of an operation on the shape of a tensor, or of getitem on such a shape."""
        source = node.all_input_nodes[0] if node.all_input_nodes else None
        if node.target is getitem and source is not None and isinstance(self._rules[source], Query):
            return Query(node, node.all_input_nodes, whole=False)
        if found is None or source not in self._net.shapes:
            return None
        if found.channels is Channels.FACT:
            return Query(node, [source], whole=False)
        return (
            Query(node, [source], self._asks_for_channels(node, source)) if found.channels is Channels.SIZES else None
        )

    def _asks_for_channels(self, node: fx.Node, source: fx.Node) -> bool:
        axis, rank = self._rules[source].axis, len(self._net.shapes[source])
        if axis is None:
            return False
        if node.target == "size" and len(node.args) > 1:
            return not isinstance(node.args[1], int) or node.args[1] % rank == axis + rank
        users = [user for user in node.users if user.target is not check_size]  # it asks for the number of axes
        picks = [user.args[1] for user in users if user.target is getitem]
        picked = [range(rank)[pick] if isinstance(pick, (int, slice)) else range(rank) for pick in picks]
        channels = any(axis + rank in ([p] if isinstance(p, int) else p) for p in picked)
        return channels or len(picks) < len(users)


def _where(tensor: Tensor) -> tuple[int, int]:
    """Where a tensor's elements begin."""
    return tensor.untyped_storage()._cdata, int(tensor.storage_offset())


def _argument(node: fx.Node, name: str) -> Any:
    """The second argument of a call, given by position or as `name`."""
    return node.kwargs.get(name, node.args[1] if len(node.args) > 1 else None)
