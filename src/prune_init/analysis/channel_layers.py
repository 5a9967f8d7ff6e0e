"""The rules of layers with parameters: convolutions, linear layers, batch norms."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx, nn

from prune_init.analysis.channel_rules import Channelwise, Facts, Rule
from prune_init.pruning.masks import Tensors

if TYPE_CHECKING:
    from prune_init.analysis.rebuild import Builder

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class Layer(Rule):
    """A convolution or a linear layer, in groups or not."""

    def __init__(self, node: fx.Node, source: fx.Node, module: Any) -> None:
        super().__init__(node, [source])
        self.module = module
        self.groups = getattr(module, "groups", 1)
        self.reads = self.axis = -1 if isinstance(module, nn.Linear) else 1 - module.weight.ndim
        self.wide_out, wide = module.weight.shape[:2]
        self.widths = [wide * self.groups]

    def constants(self, tensors: Tensors, name: str) -> Tensor:
        """The output channels that are other than 0 when the input is 0."""
        return _nonzero(self, tensors, f"{name}.bias")

    def connects(self, mask: Tensor) -> Tensor:
        """Whether any weight is left between an output channel and an input channel of its group."""
        return mask.flatten(2).any(2).cpu() if mask.ndim > 2 else mask.cpu()

    def live(self, inputs: list[Tensor], facts: Facts) -> Tensor:
        """Channels with a weight from a live input channel, or a bias."""
        blocks = self._blocks(facts) & inputs[0].view(self.groups, 1, -1)
        return blocks.any(2).flatten() | facts.emits[self.node]

    def read(self, read: Tensor, inputs: list[Tensor], facts: Facts) -> list[Tensor]:
        """Channels with a weight to a channel that is read."""
        blocks = self._blocks(facts) & read.view(self.groups, -1, 1)
        return [blocks.any(1).flatten()]

    def emit(self, builder: "Builder") -> fx.Node:
        """The weights between the channels that are kept."""
        source = self.sources[0]
        rows, columns = builder.needed(self.node), builder.stored(source, self)
        per_row, groups = columns[None], 1
        if self.groups > 1:
            rows, columns = self._grouped(builder, columns)
            groups = len((rows // (self.wide_out // self.groups)).unique())
            local = (columns % (self.widths[0] // self.groups)).view(groups, -1)
            per_row = local.repeat_interleave(len(rows) // groups, 0)
        x = builder.aligned(source, self, columns)
        smaller = _layer(self.module, len(columns), len(rows), groups)
        builder.layer(self.node, smaller, {"weight": (rows[:, None], per_row), "bias": (rows,)})
        return builder.keep(self.node, rows, builder.copy(self.node, {source: x}))

    def _blocks(self, facts: Facts) -> Tensor:
        return facts.connects[self.node].view(self.groups, self.wide_out // self.groups, -1)

    def _grouped(self, builder: "Builder", stored: Tensor) -> tuple[Tensor, Tensor]:
        """Whole groups go; those that stay have equally many channels, so some stay that nobody needs."""
        needed = builder.is_needed(self.node)
        wanted = self.read(needed, [], builder.facts)[0] & builder.liveness.inputs(self)[0]
        kept = needed.view(self.groups, -1).any(1)
        kept[0] |= not kept.any()
        at_hand = torch.zeros(self.widths[0], dtype=torch.bool)
        at_hand[stored] = True
        rows, spare_rows = _equally_many(needed, torch.zeros_like(needed), kept)
        columns, spare_columns = _equally_many(wanted, at_hand, kept)
        if spare_rows or spare_columns:
            spare = f"{int(kept.sum())} groups of equal size: {spare_rows} outputs and {spare_columns} inputs to spare"
            builder.leave(self.node, spare)
        return rows, columns


class Norm(Channelwise):
    """A batch norm. A channel that is always 0 has mean 0, and stays 0 if its bias does."""

    def __init__(self, node: fx.Node, source: fx.Node, module: Any, axis: int) -> None:
        super().__init__(node, source, (axis, axis), module.num_features, "passes")
        self.module = module

    def constants(self, tensors: Tensors, name: str) -> Tensor:
        """The channels that are other than 0 when the input is 0, in train mode or in eval mode."""
        return _nonzero(self, tensors, f"{name}.bias") | _nonzero(self, tensors, f"{name}.running_mean")

    def live(self, inputs: list[Tensor], facts: Facts) -> Tensor:
        """Those of the input, and those that have a constant of their own."""
        return inputs[0] | facts.emits[self.node]

    def emit(self, builder: "Builder") -> fx.Node:
        """The norms of the channels that are kept."""
        kept = builder.carried(self.node, self.sources[0])
        old = self.module
        smaller = next(kind for kind in NORMS if isinstance(old, kind))(
            len(kept), old.eps, old.momentum, old.affine, old.track_running_stats, device="meta"
        )
        names = [name for name in ("weight", "bias", "running_mean", "running_var") if getattr(old, name) is not None]
        builder.layer(self.node, smaller, dict.fromkeys(names, (kept,)))
        return super().emit(builder)


def _nonzero(rule: Rule, tensors: Tensors, name: str) -> Tensor:
    return tensors[name].cpu() != 0 if name in tensors else torch.zeros(rule.wide_out, dtype=torch.bool)


def _equally_many(needed: Tensor, at_hand: Tensor, kept: Tensor) -> tuple[Tensor, int]:
    """As many channels of each kept group as the fullest needs, at least one; and how many of them are not needed."""
    groups = needed.view(len(kept), -1)[kept]
    size = max(1, int(groups.sum(1).max()))
    priority = groups.long() * 2 + at_hand.view(len(kept), -1)[kept].long()
    chosen = priority.argsort(dim=1, descending=True, stable=True)[:, :size].sort(1).values
    first = kept.nonzero() * (len(needed) // len(kept))
    return (first + chosen).flatten(), int(chosen.numel() - groups.sum())


def _layer(old: Any, wide_in: int, wide_out: int, groups: int) -> nn.Module:
    """An uninitialised layer like `old`, of another width; on no device, so that no random number is drawn."""
    bias = old.bias is not None
    if isinstance(old, nn.Linear):
        return nn.Linear(wide_in, wide_out, bias=bias, device="meta")
    convolution: Any = next(kind for kind in LAYERS if isinstance(old, kind))
    how = (old.kernel_size, old.stride, old.padding, old.dilation, groups, bias, old.padding_mode)
    return convolution(wide_in, wide_out, *how, device="meta")
