"""Fold constants that a layer reads into its bias: the same outputs in eval mode, for the present weights."""

from typing import Any

import torch
from torch import Tensor, nn

from prune_init.compaction.graph import ChannelGraph
from prune_init.compaction.layers import TRANSPOSED, LayerRule
from prune_init.compaction.liveness import Liveness, Rules, facts_now
from prune_init.compaction.rules import WeightFacts
from prune_init.pruning.masks import Tensors


def folded(
    net: ChannelGraph, rules: Rules, masks: Tensors, tensors: Tensors, fed: Liveness, example_input: Tensor
) -> tuple[Tensors, Tensors, WeightFacts, Liveness]:
    """Return masks, tensors, facts and liveness of the net after folding constants into biases.

    A channel that does not depend on the network's input (not live in `fed`) has the same value for every input. If it
    is 0 everywhere, it is not needed. If it is equal at all positions, and the layer that reads it does not pad with
    zeros, its contribution to each output channel is one number, which is added to the bias.
    """
    masks, tensors, zero = dict(masks), dict(tensors), {}
    values = net.values(example_input)
    for node, rule in rules.items():
        if rule.axis is not None:
            zero[node] = (_by_channel(values[node], rule.axis) == 0).all(1).cpu() & ~fed.live[node]
        if isinstance(rule, LayerRule) and _takes_constants(rule.module) and rules[rule.sources[0]].axis == rule.reads:
            weight, bias = f"{node.target}.weight", f"{node.target}.bias"
            rows = _by_channel(values[rule.sources[0]], rule.reads)
            constant = ~fed.live[rule.sources[0]].to(rows.device) & (rows == rows[:, :1]).all(1)
            kept = masks.get(weight, torch.ones_like(tensors[weight], dtype=torch.bool)).to(rows.device)
            effect = torch.einsum("oi...,i->o", tensors[weight] * kept, rows[:, 0].where(constant, 0))
            tensors[bias] = tensors[bias] + effect
            masks[weight] = kept & ~constant.view(1, -1, *[1] * (kept.ndim - 2))
    facts = facts_now(rules, masks, tensors)
    return masks, tensors, facts, Liveness(net, rules, facts, zero)


def _by_channel(value: Tensor, axis: Any) -> Tensor:
    return value.movedim(axis, 0).flatten(1)


def _takes_constants(module: Any) -> bool:
    if isinstance(module, nn.Linear):
        return module.bias is not None
    if isinstance(module, TRANSPOSED):  # its outputs add up fewer inputs at the edges and between strides
        return False
    padded = module.padding_mode == "zeros" and any(p != 0 for p in module.padding)
    return module.groups == 1 and module.bias is not None and not padded
