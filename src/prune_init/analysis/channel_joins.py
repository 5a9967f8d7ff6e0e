"""The rules of operations that bring several tensors together: sums, products, concatenation."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, fx

from prune_init.analysis.channel_rules import Facts, Rule

if TYPE_CHECKING:
    from prune_init.analysis.rebuild import Builder


class Pointwise(Rule):
    """Several tensors meet element by element and broadcast."""

    def __init__(self, node: fx.Node, sources: list[fx.Node], axis: int, channels: int) -> None:
        super().__init__(node, sources)
        self.reads = self.axis = axis
        self.widths, self.wide_out = [channels] * len(sources), channels

    def read(self, read: Tensor, inputs: list[Tensor], facts: Facts) -> list[Tensor]:
        """Those of the output."""
        return [read for _ in inputs]

    def emit(self, builder: "Builder") -> fx.Node:
        """The same operation, all inputs brought to the channels that are needed."""
        kept = builder.needed(self.node)
        replaced = {source: builder.aligned(source, self, kept) for source in self.sources}
        return builder.keep(self.node, kept, builder.copy(self.node, replaced))


class Join(Pointwise):
    """A sum, such as a residual connection: a channel lives where either does."""

    def live(self, inputs: list[Tensor], facts: Facts) -> Tensor:
        """The union."""
        return torch.stack(inputs).any(0)

    def emit(self, builder: "Builder") -> fx.Node:
        """Add where there is something to add: what is always 0 is left out."""
        plain = self.node.op == "call_function" and not self.node.kwargs and "add" in str(self.node.target)
        shapes = {builder.net.shapes[source] for source in self.sources}
        if not plain or len(shapes) > 1 or len(set(self.sources)) < 2:
            return super().emit(builder)
        kept = builder.needed(self.node)
        most, least = sorted(self.sources, key=lambda source: -len(builder.overlap(source, self, kept)))
        total, few = builder.aligned(most, self, kept), builder.overlap(least, self, kept)
        if len(few) == len(kept):
            total = builder.graph.call_function(torch.add, (total, builder.aligned(least, self, kept)))
        elif len(few) > 0:
            part = builder.aligned(least, self, few)
            total = builder.index_add(total, part, self.reads, torch.searchsorted(kept, few))
        return builder.keep(self.node, kept, total)


class Product(Pointwise):
    """A product, such as squeeze-and-excitation: a channel lives where both do."""

    def live(self, inputs: list[Tensor], facts: Facts) -> Tensor:
        """The intersection; input reaches the product through either factor."""
        stacked = torch.stack(inputs)
        return stacked.all(0) if facts.constants else stacked.any(0)

    def read(self, read: Tensor, inputs: list[Tensor], facts: Facts) -> list[Tensor]:
        """A factor that is always 0 stops the gradient of the other."""
        one, other = inputs
        return [read & other, read & one]


class Concat(Rule):
    """Channels side by side."""

    def __init__(self, node: fx.Node, sources: list[fx.Node], axis: int, widths: list[int]) -> None:
        super().__init__(node, sources)
        self.reads = self.axis = axis
        self.widths = widths
        self.wide_out = sum(widths)

    def live(self, inputs: list[Tensor], facts: Facts) -> Tensor:
        """One after the other."""
        return torch.cat(inputs)

    def read(self, read: Tensor, inputs: list[Tensor], facts: Facts) -> list[Tensor]:
        """Each its own part."""
        return list(read.split(self.widths))

    def emit(self, builder: "Builder") -> fx.Node:
        """The same, of what there is."""
        needed = builder.is_needed(self.node).split(self.widths)
        starts = [sum(self.widths[:position]) for position in range(len(self.widths))]
        parts, kept = [], []
        for source, start, own in zip(self.sources, starts, needed, strict=True):
            if own.any() or (start == 0 and not any(part.any() for part in needed)):
                stored = builder.stored(source, self)
                parts.append(builder.aligned(source, self, stored))
                kept.append(stored + start)
        return builder.keep(self.node, torch.cat(kept), builder.graph.call_function(torch.cat, (parts, self.axis)))
