"""Write each operation into the smaller net: one function for each rule of `rules`, `layers` and `joins`."""

from functools import singledispatch
from typing import Any

import torch
from torch import Tensor, fx, nn

from prune_init.compaction.builder import Builder
from prune_init.compaction.compact_net import CompactNet
from prune_init.compaction.joins import Concat, Join, Pointwise
from prune_init.compaction.layers import LAYERS, NORMS, TRANSPOSED, LayerRule, NormRule
from prune_init.compaction.rules import Channelwise, Query, Reshape, Rule, Squeeze


def build(builder: Builder) -> CompactNet:
    """Write all operations; those that the output does not depend on are dropped at the end."""
    for node, rule in builder.rules.items():
        builder.values[node] = emit(rule, builder)
    return builder.finished()


@singledispatch
def emit(rule: Rule, builder: Builder) -> fx.Node:
    """Write the operation of `rule` and return its node. This is the general case, on whole tensors."""
    return builder.copy(rule.node, {source: builder.whole(source) for source in rule.sources})


@emit.register
def _channelwise(rule: Channelwise, builder: Builder) -> fx.Node:
    """The same operation on fewer channels."""
    source = rule.sources[0]
    kept = builder.carried(rule.node, source)
    return builder.keep(rule.node, kept, builder.copy(rule.node, {source: builder.aligned(source, rule, kept)}))


@emit.register
def _reshape(rule: Reshape, builder: Builder) -> fx.Node:
    """Flatten, unflatten or squeeze in a form that does not name the number of channels."""
    source, call = rule.sources[0], builder.graph.call_function
    kept = builder.stored(source, rule)
    x = builder.aligned(source, rule, kept)
    if isinstance(rule, Squeeze):
        new = call(torch.squeeze, (x, rule.dims))
    elif rule.before == rule.after:
        new = x  # for any size of image
    elif len(rule.after) == 3 and len(rule.before) > 3:
        new = call(torch.flatten, (x, 2))
    else:
        new = call(torch.flatten, (x, 1))
        if len(rule.after) > 2:
            new = call(torch.unflatten, (new, 1, (-1, *rule.after[2:])))
    features = kept[:, None] * rule.block + torch.arange(rule.block)
    return builder.keep(rule.node, features.flatten(), new)


@emit.register
def _query(rule: Query, builder: Builder) -> fx.Node:
    """A number of channels is asked of the whole tensor, anything else of the smaller one."""
    return emit.dispatch(Rule)(rule, builder) if rule.whole else builder.copy(rule.node, {})


@emit.register
def _layer(rule: LayerRule, builder: Builder) -> fx.Node:
    """A layer with the weights between the channels that are kept."""
    source = rule.sources[0]
    rows, columns = builder.needed(rule.node), builder.stored(source, rule)
    per_row, groups = columns[None], 1
    if rule.groups > 1:
        rows, columns = _grouped(rule, builder, columns)
        groups = len((rows // (rule.wide_out // rule.groups)).unique())
        local = (columns % (rule.widths[0] // rule.groups)).view(groups, -1)
        per_row = local.repeat_interleave(len(rows) // groups, 0)
    x = builder.aligned(source, rule, columns)
    smaller = _of_width(rule.module, len(columns), len(rows), groups)
    weight = (columns[:, None], rows[None]) if rule.transposed else (rows[:, None], per_row)
    builder.layer(rule.node, smaller, {"weight": weight, "bias": (rows,)})
    return builder.keep(rule.node, rows, builder.copy(rule.node, {source: x}))


@emit.register
def _norm(rule: NormRule, builder: Builder) -> fx.Node:
    """A batch norm of the channels that are kept."""
    kept = builder.carried(rule.node, rule.sources[0])
    old = rule.module
    smaller = next(kind for kind in NORMS if isinstance(old, kind))(len(kept), old.eps, old.momentum, device="meta")
    smaller.affine, smaller.track_running_stats = old.affine, old.track_running_stats
    for name in smaller.state_dict():
        if getattr(old, name) is None:  # its flags need not tell: bias and statistics may have been taken away
            setattr(smaller, name, None)
    builder.layer(rule.node, smaller, dict.fromkeys(("weight", "bias", "running_mean", "running_var"), (kept,)))
    return _channelwise(rule, builder)


@emit.register
def _pointwise(rule: Pointwise, builder: Builder) -> fx.Node:
    """The same operation, on the needed channels of all inputs."""
    kept = builder.needed(rule.node)
    replaced = {source: builder.aligned(source, rule, kept) for source in rule.sources}
    return builder.keep(rule.node, kept, builder.copy(rule.node, replaced))


@emit.register
def _join(rule: Join, builder: Builder) -> fx.Node:
    """Add only the channels of each input that can be other than 0."""
    plain = rule.node.op == "call_function" and not rule.node.kwargs and "add" in str(rule.node.target)
    shapes = {builder.net.shapes[source] for source in rule.sources}
    if not plain or len(shapes) > 1 or len(set(rule.sources)) < 2:
        return _pointwise(rule, builder)
    kept = builder.needed(rule.node)
    most, least = sorted(rule.sources, key=lambda source: -len(builder.overlap(source, rule, kept)))
    total, few = builder.aligned(most, rule, kept), builder.overlap(least, rule, kept)
    if len(few) == len(kept):
        total = builder.graph.call_function(torch.add, (total, builder.aligned(least, rule, kept)))
    elif len(few) > 0:
        part = builder.aligned(least, rule, few)
        total = builder.index_add(total, part, rule.reads, torch.searchsorted(kept, few))
    else:
        total = builder.graph.call_method("clone", (total,))  # a sum is a new tensor, which may be overwritten
    return builder.keep(rule.node, kept, total)


@emit.register
def _concat(rule: Concat, builder: Builder) -> fx.Node:
    """Concatenate the channels that are left of each input that is needed, or of the first if none is."""
    needed = builder.liveness.needed(rule.node).split(rule.widths)
    starts = [sum(rule.widths[:position]) for position in range(len(rule.widths))]
    parts, kept = [], []
    for source, start, own in zip(rule.sources, starts, needed, strict=True):
        if own.any() or (start == 0 and not any(part.any() for part in needed)):
            stored = builder.stored(source, rule)
            parts.append(builder.aligned(source, rule, stored))
            kept.append(stored + start)
    return builder.keep(rule.node, torch.cat(kept), builder.graph.call_function(torch.cat, (parts, rule.axis)))


def _grouped(rule: LayerRule, builder: Builder, stored: Tensor) -> tuple[Tensor, Tensor]:
    """The output and input channels to keep. Whole groups go; the others stay equal in size, so spare channels stay."""
    needed = builder.liveness.needed(rule.node)
    wanted = rule.read(needed, [], builder.facts)[0] & builder.liveness.inputs(rule)[0]
    kept = needed.view(rule.groups, -1).any(1)
    kept[0] |= not kept.any()
    at_hand = torch.zeros(rule.widths[0], dtype=torch.bool)
    at_hand[stored] = True
    rows, spare_rows = _equally_many(needed, torch.zeros_like(needed), kept)
    columns, spare_columns = _equally_many(wanted, at_hand, kept)
    if spare_rows or spare_columns:
        spare = (
            f"{int(kept.sum())} groups of equal size need {spare_rows} spare outputs and {spare_columns} spare inputs"
        )
        builder.leave(rule.node, spare)
    return rows, columns


def _equally_many(needed: Tensor, at_hand: Tensor, kept: Tensor) -> tuple[Tensor, int]:
    """The channels to keep of each kept group, as many as the fullest needs (at least 1); and how many are spare."""
    groups = needed.view(len(kept), -1)[kept]
    size = max(1, int(groups.sum(1).max()))
    priority = groups.long() * 2 + at_hand.view(len(kept), -1)[kept].long()
    chosen = priority.argsort(dim=1, descending=True, stable=True)[:, :size].sort(1).values
    first = kept.nonzero() * (len(needed) // len(kept))
    return (first + chosen).flatten(), int(chosen.numel() - groups.sum())


def _of_width(old: Any, wide_in: int, wide_out: int, groups: int) -> nn.Module:
    """An uninitialised layer like `old` with other widths, on the meta device so that no random number is drawn."""
    bias = old.bias is not None
    if isinstance(old, nn.Linear):
        return nn.Linear(wide_in, wide_out, bias=bias, device="meta")
    convolution: Any = next(kind for kind in LAYERS if isinstance(old, kind))
    how = {name: getattr(old, name) for name in ("kernel_size", "stride", "padding", "dilation", "padding_mode")}
    if isinstance(old, TRANSPOSED):
        how["output_padding"] = old.output_padding
    return convolution(wide_in, wide_out, **how, groups=groups, bias=bias, device="meta")
