"""Turn a masked net into a smaller one that computes the same function and trains in the same way."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn

from prune_init.compaction import emission
from prune_init.compaction.builder import Builder, Index
from prune_init.compaction.folding import folded
from prune_init.compaction.graph import ChannelGraph
from prune_init.compaction.layers import LayerRule, NormRule
from prune_init.compaction.liveness import Liveness, Rules, permanent_liveness, reached
from prune_init.compaction.recognition import recognised
from prune_init.compaction.verify import verify
from prune_init.errors import InputError, ModelError
from prune_init.pruning import masks as masking
from prune_init.pruning.checks import check_numbers, parameter_masks
from prune_init.pruning.copies import copied
from prune_init.pruning.masks import Tensors
from prune_init.pruning.weights import inside
from prune_init.tracing.nodes import operation, place


@dataclass(frozen=True, eq=False)
class Compaction:
    """How a compact net corresponds to the whole net that it was made from. Tensors have the same names in both.

    Attributes:
        index: the position of each parameter and buffer of the compact net in the whole one: `whole[index]`.
        masks: the masks of the compact net's weights, True = kept.
        whole_masks: the masks of the whole net's weights.
        left_alone: operations without a rule, and layers with channels that could not be removed, and why.
    """

    index: dict[str, Index] = field(repr=False)
    masks: Tensors = field(repr=False)
    whole_masks: Tensors = field(repr=False)
    left_alone: dict[str, str]

    def narrow(self, whole: Mapping[str, Tensor]) -> Tensors:
        """Select the compact net's part of tensors shaped like the whole net's, by name: weights, masks, scores."""
        return {name: whole[name][index] for name, index in self.index.items() if name in whole}

    @torch.no_grad()
    def widen(self, small: Mapping[str, Tensor], whole: Mapping[str, Tensor]) -> None:
        """Write tensors shaped like the compact net's into `whole`, the whole net's, in the dtypes of `whole`."""
        for name, index in self.index.items():
            if name in small:
                whole[name][index] = small[name].to(whole[name])


def compact(model: nn.Module, example_input: Tensor, *, exact: bool = True, masks: Tensors | None = None) -> nn.Module:
    """Make a smaller net with the same outputs as a pruned one; its layers are plain and keep their names.

    Channels that have no influence on the output, and channels that are always 0, are removed. `exact=True` guarantees:

    - In eval and in train mode, outputs, gradients of the remaining weights and running statistics equal those of the
      masked net up to rounding. In the masked net, weights that are removed but not masked have gradients of exactly 0.
    - Hence the masked net (pruned weights held at 0) and the compact one agree after any number of training steps,
      with any optimiser that updates each weight independently of the others, and with clipping by the global norm.

    Three things in train mode are excepted. Dropout draws fewer random numbers, hence other ones. A constant channel
    other than 0 leaves a batch norm as rounding noise, in both nets, and the sign of the noise can decide what a relu
    lets through. The statistics of spare channels, which fill up the groups of a grouped convolution, mean nothing.

    `exact=False` guarantees only the outputs in eval mode for the present weights: channels that are 0 now go, even if
    training would change them; constants are added to the bias of a layer that has one, no groups and no zero padding.

    Args:
        model: the pruned net, its pruned weights at 0. It is not changed; its hooks are not copied.
        example_input: a batch of the model's input; only its shape matters, and the values of whole numbers.
        exact: see above.
        masks: which weights are kept; tensors without a mask are kept whole. Default: the weights that are not 0. Pass
            masks before training: of ten million random weights one or two are 0 by chance.

    Returns:
        A `torch.fx.GraphModule` in the mode of `model`, or a copy of `model` if there is nothing to remove. Its
        attribute `compaction` is a `Compaction`.

    Raises:
        InputError: no path leads from input to output, the model cannot be traced, the masks do not fit it, or the
            compact net, which is run beside the masked one, has other outputs.
    """
    model = inside(model)
    check_numbers({name: p for name, p in model.named_parameters() if p.is_meta})
    given = parameter_masks(model, masks)
    net = ChannelGraph(model, example_input)
    rules, unknown = recognised(net)
    left_alone = _unknown(net, unknown)
    masks = _by_every_name(given, model)
    tensors = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    facts, liveness = permanent_liveness(net, rules, masks, tensors)
    fed = reached(net, rules, facts, liveness)
    _refuse_disconnected(net, rules, fed)
    if not exact:
        masks, tensors, facts, liveness = folded(net, rules, masks, tensors, fed, example_input)
    builder = Builder(net, rules, tensors, facts, liveness)
    whole = all(liveness.needed(node).all() for node, rule in rules.items() if rule.axis is not None)
    small: Any = copied(model) if whole else emission.build(builder)
    index = {name: builder.index.get(name, ()) for name in small.state_dict() if name in tensors}
    parameters = dict(small.named_parameters())
    narrow = {name: masks[name][index[name]] for name in parameters if name in masks}
    masking.apply(narrow, parameters)
    left_alone |= builder.left_alone | _constants(rules, liveness, fed)
    small.compaction = Compaction(index, narrow, {name: masks[name] for name in given}, left_alone)
    if not whole:
        device = next(model.parameters()).device
        verify(model, small, given, example_input.to(device, net.dtype), exact=exact)
    return small


def expand(compact_net: nn.Module, model: nn.Module) -> nn.Module:
    """Write a compact net's weights and statistics into `model`, in place, and apply the masks.

    Args:
        compact_net: made by `compact`, trained or not.
        model: the net that it was made from, or one like it. Weights that are not in the compact net are kept.

    Raises:
        InputError: `compact_net` is not a compact net, or was made from another net.
    """
    compaction = getattr(compact_net, "compaction", None)
    if not isinstance(compaction, Compaction):
        raise InputError("compact_net", type(compact_net).__name__, "was not made by prune_init.compact")
    whole = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    try:
        compaction.widen(compact_net.state_dict(), whole)
        masking.apply(compaction.whole_masks, whole)
    except (KeyError, IndexError, RuntimeError) as error:
        raise ModelError(model, f"is not the net that was compacted ({error})") from error
    return model


def _refuse_disconnected(net: ChannelGraph, rules: Rules, fed: Liveness) -> None:
    if any(fed.live[source].any() for source in net.graph.output_node().all_input_nodes):
        return
    ends = [node for node, rule in rules.items() if isinstance(rule, LayerRule) and fed.inputs(rule)[0].any()]
    where = f": the last one ends in {place(ends[-1])}" if ends else ""
    raise ModelError(net.model, f"no path leads from input to output{where}")


def _unknown(net: ChannelGraph, unknown: dict[fx.Node, str]) -> dict[str, str]:
    """The operations without a rule, by place in the model, and that as the reason; also as a warning."""
    names = {node: operation(node, net.model) for node in unknown}
    if names:
        listed = ", ".join(sorted(set(names.values())))
        warnings.warn(f"compaction has no rule for these operations and does not shrink them: {listed}", stacklevel=3)
    return {place(node): f"no rule for {name}{unknown[node]}" for node, name in names.items()}


def _constants(rules: Rules, liveness: Liveness, fed: Liveness) -> dict[str, str]:
    """The layers with channels that are kept only for the constants that they emit."""
    counts = {
        place(node): int((liveness.needed(node) & ~fed.live[node]).sum())
        for node, rule in rules.items()
        if isinstance(rule, (LayerRule, NormRule))
    }
    return {name: f"{count} channels emit a constant that is read" for name, count in counts.items() if count}


def _by_every_name(masks: Tensors, model: nn.Module) -> Tensors:
    """The masks under all names of tied weights: the first name in the compact net may be another one."""
    names = [(name, id(weight)) for name, weight in model.named_parameters(remove_duplicate=False)]
    known = {weight: masks[name] for name, weight in names if name in masks}
    return {name: known[weight] for name, weight in names if weight in known}
