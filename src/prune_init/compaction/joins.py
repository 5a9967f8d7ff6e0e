"""The rules of operations that bring several tensors together: sums, products, concatenation."""

import torch
from torch import Tensor, fx

from prune_init.compaction.rules import Rule, WeightFacts


class Pointwise(Rule):
    """Several tensors meet element by element and broadcast."""

    def __init__(self, node: fx.Node, sources: list[fx.Node], axis: int, channels: int) -> None:
        super().__init__(node, sources)
        self.reads = self.axis = axis
        self.widths, self.wide_out = [channels] * len(sources), channels

    def read(self, read: Tensor, inputs: list[Tensor], facts: WeightFacts) -> list[Tensor]:
        """Those of the output."""
        return [read for _ in inputs]


class Join(Pointwise):
    """A sum, such as a residual connection: a channel lives where either does."""

    def live(self, inputs: list[Tensor], facts: WeightFacts) -> Tensor:
        """The union."""
        return torch.stack(inputs).any(0)


class ProductRule(Pointwise):
    """A product, such as squeeze-and-excitation: a channel lives where both do."""

    def live(self, inputs: list[Tensor], facts: WeightFacts) -> Tensor:
        """The intersection; input reaches the product through either factor."""
        stacked = torch.stack(inputs)
        return stacked.all(0) if facts.constants else stacked.any(0)

    def read(self, read: Tensor, inputs: list[Tensor], facts: WeightFacts) -> list[Tensor]:
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

    def live(self, inputs: list[Tensor], facts: WeightFacts) -> Tensor:
        """One after the other."""
        return torch.cat(inputs)

    def read(self, read: Tensor, inputs: list[Tensor], facts: WeightFacts) -> list[Tensor]:
        """Each its own part."""
        return list(read.split(self.widths))
