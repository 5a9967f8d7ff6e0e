"""Find the channels that a masked net needs: those that can be other than 0 and that a gradient can reach.

A channel that no path from the input leads to emits a constant. The constant is 0 if all biases that contribute to it
are 0, and it stays 0 in training if none of these ever gets a gradient. None comes through a relu, whose derivative at
0 is 0; one comes through a residual connection or another activation. So: start from the channels that are 0 now, find
those of their biases that gradients can reach, treat these as other than 0, and repeat until no other bias is reached.
Channels not needed then stay 0, or without influence, however long the net is trained; their gradients are exactly 0.
"""

import torch
from torch import Tensor, fx

from prune_init.compaction.graph import ChannelGraph
from prune_init.compaction.layers import LayerRule, NormRule
from prune_init.compaction.rules import Rule, WeightFacts
from prune_init.pruning.masks import Tensors

Rules = dict[fx.Node, Rule]


class Liveness:
    """The channels that can be other than 0 (`live`), found going forward, and those that are read, going backward.

    `zero` marks channels known to be 0 for another reason.
    """

    def __init__(
        self, net: ChannelGraph, rules: Rules, facts: WeightFacts, zero: dict[fx.Node, Tensor] | None = None
    ) -> None:
        self._rules = rules
        self.live: dict[fx.Node, Tensor] = {}
        for node, rule in rules.items():
            self.live[node] = rule.live(self.inputs(rule), facts)
            if zero and node in zero:
                self.live[node] = self.live[node] & ~zero[node]
        end = net.graph.output_node()
        self.read = {node: torch.zeros_like(live) for node, live in self.live.items()}
        for source in end.all_input_nodes:
            self.read[source][:] = True
        for node, rule in reversed(rules.items()):
            for source, read in zip(rule.sources, rule.read(self.read[node], self.inputs(rule), facts), strict=True):
                same = rules[source].axis == rule.reads and len(read) == len(self.read[source])
                self.read[source] |= read if same else read.any()

    def inputs(self, reader: Rule) -> list[Tensor]:
        """The live channels of each source of `reader`, counted along the axis that `reader` reads."""
        counted = []
        for source, width in zip(reader.sources, reader.widths, strict=True):
            live = self.live[source]
            same = self._rules[source].axis == reader.reads and len(live) == width
            counted.append(live if same else live.any().expand(width))
        return counted

    def needed(self, node: fx.Node) -> Tensor:
        """The channels of `node` that are both live and read."""
        return self.live[node] & self.read[node]


def permanent_liveness(
    net: ChannelGraph, rules: Rules, masks: Tensors, tensors: Tensors
) -> tuple[WeightFacts, Liveness]:
    """Find the channels that are needed now, or could be after any number of training steps."""
    facts = facts_now(rules, masks, tensors)
    biased = [node for node in facts.emits if f"{node.target}.bias" in tensors]
    while True:
        found = Liveness(net, rules, facts)
        drifting = {node: found.read[node] & ~found.live[node] for node in biased}
        if not any(channels.any() for channels in drifting.values()):
            return facts, found
        for node, channels in drifting.items():
            facts.emits[node] |= channels


def facts_now(rules: Rules, masks: Tensors, tensors: Tensors) -> WeightFacts:
    """The facts that the rules need, for the present weights."""
    layers = {node: rule for node, rule in rules.items() if isinstance(rule, (LayerRule, NormRule))}
    emits = {node: _constants(rule, tensors) for node, rule in layers.items()}
    return WeightFacts(_connections(rules, masks), emits)


def reached(net: ChannelGraph, rules: Rules, facts: WeightFacts, found: Liveness) -> Liveness:
    """Find the live channels that depend on the network's input; constants are ignored."""
    silent = {node: torch.zeros_like(channels) for node, channels in facts.emits.items()}
    zero = {node: ~live for node, live in found.live.items()}
    return Liveness(net, rules, WeightFacts(facts.connects, silent, constants=False), zero)


def _constants(rule: Rule, tensors: Tensors) -> Tensor:
    """The output channels of a layer that are other than 0 when its input is 0, in train mode or in eval mode."""
    found = torch.zeros(rule.wide_out, dtype=torch.bool)
    for name in (f"{rule.node.target}.bias", f"{rule.node.target}.running_mean"):
        if name in tensors:
            found |= tensors[name].cpu() != 0
    return found


def _connections(rules: Rules, masks: Tensors) -> dict[fx.Node, Tensor]:
    """For each layer, whether a weight is kept between an output channel (row) and an input channel of its group."""
    found = {}
    for node, rule in rules.items():
        if isinstance(rule, LayerRule):
            mask = masks.get(f"{node.target}.weight")
            mask = torch.ones_like(rule.module.weight, dtype=torch.bool) if mask is None else mask
            connects = (mask.flatten(2).any(2) if mask.ndim > 2 else mask).cpu()
            found[node] = connects.T if rule.transposed else connects
    return found
