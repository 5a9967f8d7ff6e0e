"""Rules of operations that combine several tensors: sums, products, concatenation."""

import torch
from torch import Tensor, fx

from prune_init.compaction.rules import Rule, WeightFacts


class Pointwise(Rule):
    """An elementwise operation on several tensors, with broadcasting."""

    def __init__(self, node: fx.Node, sources: list[fx.Node], axis: int, channels: int) -> None:
        super().__init__(node, sources)
        self.reads = self.axis = axis
        self.widths, self.wide_out = [channels] * len(sources), channels

    def read(self, read: Tensor, inputs: list[Tensor], facts: WeightFacts) -> list[Tensor]:
        """The channels read of the output, for every input."""
        return [read for _ in inputs]


class Join(Pointwise):
    """A sum, such as a residual connection: a channel is live if it is in either input."""

    def live(self, inputs: list[Tensor], facts: WeightFacts) -> Tensor:
        """The union of the inputs' live channels."""
        return torch.stack(inputs).any(0)


class ProductRule(Pointwise):
    """A product, such as squeeze-and-excitation: a channel is live if it is in both inputs."""

    def live(self, inputs: list[Tensor], facts: WeightFacts) -> Tensor:
        """The intersection; the union if constants do not count: input reaches a product through either factor."""
        stacked = torch.stack(inputs)
        return stacked.all(0) if facts.constants else stacked.any(0)

    def read(self, read: Tensor, inputs: list[Tensor], facts: WeightFacts) -> list[Tensor]:
        """A factor that is always 0 stops the gradient of the other."""
        one, other = inputs
        return [read & other, read & one]


class Concat(Rule):
    """A concatenation of channels."""

    def __init__(self, node: fx.Node, sources: list[fx.Node], axis: int, widths: list[int]) -> None:
        super().__init__(node, sources)
        self.reads = self.axis = axis
        self.widths = widths
        self.wide_out = sum(widths)

    def live(self, inputs: list[Tensor], facts: WeightFacts) -> Tensor:
        """The inputs' live channels, concatenated."""
        return torch.cat(inputs)

    def read(self, read: Tensor, inputs: list[Tensor], facts: WeightFacts) -> list[Tensor]:
        """The part of `read` that belongs to each input."""
        return list(read.split(self.widths))
