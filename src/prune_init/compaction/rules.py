"""Rules of operations: which output channels can be other than 0, and which input channels are read.

Channels lie along one axis of a tensor, counted from the right (a negative number), as in broadcasting. A tensor
without such an axis counts as one channel and is kept whole.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from prune_init.pruning.behaviour import Channels


@dataclass(frozen=True, eq=False)
class WeightFacts:
    """What the rules need to know about the weights.

    Attributes:
        connects: for each layer, whether a weight is kept from an input channel (column) to an output channel (row).
        emits: for each layer and norm, the output channels that are other than 0 even if their inputs are 0.
        constants: whether a constant makes a channel live; if False, only the network's input does.
    """

    connects: dict[fx.Node, Tensor]
    emits: dict[fx.Node, Tensor]
    constants: bool = True


class Rule:
    """The rule of any operation: it reads whole tensors and returns a whole one. Subclasses know more.

    Attributes:
        node: the operation.
        sources: the tensors it reads.
        reads: the channel axis of its inputs, or None.
        axis: the channel axis of its output, or None.
        widths: the number of channels that it reads of each input.
        wide_out: the number of channels of its output.
    """

    def __init__(self, node: fx.Node, sources: list[fx.Node]) -> None:
        self.node = node
        self.sources = sources
        self.reads: int | None = None
        self.axis: int | None = None
        self.widths = [1] * len(sources)
        self.wide_out = 1

    def live(self, inputs: list[Tensor], facts: WeightFacts) -> Tensor:
        """The output channels that can be other than 0, given the input channels that can."""
        begins = torch.tensor(facts.constants or self.node.op == "placeholder")
        return torch.stack([begins, *(x.any() for x in inputs)]).any()[None]

    def read(self, read: Tensor, inputs: list[Tensor], facts: WeightFacts) -> list[Tensor]:
        """The channels of each input that gradients can reach, given those of the output and the inputs' live ones."""
        return [read.any()[None] for _ in inputs]


class Channelwise(Rule):
    """An operation on each channel by itself: activations, pooling, dropout.

    `at_zero` is what the function does at 0: STOPS, PASSES or LIFTS.
    """

    def __init__(
        self, node: fx.Node, source: fx.Node, at: tuple[int | None, int | None], channels: int, at_zero: Channels
    ) -> None:
        super().__init__(node, [source])
        self.reads, self.axis = at
        self.widths, self.wide_out = [channels], channels
        self.at_zero = at_zero

    def live(self, inputs: list[Tensor], facts: WeightFacts) -> Tensor:
        """The live channels of the input; all channels if 0 becomes another number."""
        return inputs[0] | (facts.constants and self.at_zero is Channels.LIFTS)

    def read(self, read: Tensor, inputs: list[Tensor], facts: WeightFacts) -> list[Tensor]:
        """The channels read of the output; a relu passes no gradient to channels that are always 0."""
        return [read & inputs[0] if self.at_zero is Channels.STOPS else read]


class Reshape(Channelwise):
    """A reshape that turns each channel into a block of features (flatten), or adds or drops axes of length 1."""

    def __init__(self, node: fx.Node, source: fx.Node, before: torch.Size, after: torch.Size) -> None:
        super().__init__(node, source, (1 - len(before), 1 - len(after)), before[1], Channels.PASSES)
        self.wide_out = after[1]
        self.block = after[1] // before[1]
        self.before, self.after = before, after

    @staticmethod
    def fits(before: torch.Size, after: torch.Size) -> bool:
        """Whether a change of shape is such a reshape: (N, C, ...) to (N, C * ...), (N, C, ...) or (N, C, 1, ...)."""
        if len(before) < 2 or len(after) < 2 or before[0] != after[0]:
            return False
        return len(after) == 2 or (after[1] == before[1] and (len(after) == 3 or after[2:].numel() == 1))

    def live(self, inputs: list[Tensor], facts: WeightFacts) -> Tensor:
        """The blocks of the live input channels."""
        return inputs[0].repeat_interleave(self.block)

    def read(self, read: Tensor, inputs: list[Tensor], facts: WeightFacts) -> list[Tensor]:
        """The channels of which any feature is read."""
        return [read.view(-1, self.block).any(1)]


class Squeeze(Reshape):
    """A reshape that drops those of the axes `dims` that have length 1; never the channels, of which there are more."""

    def __init__(
        self, node: fx.Node, source: fx.Node, before: torch.Size, after: torch.Size, dims: Iterable[int]
    ) -> None:
        super().__init__(node, source, before, after)
        self.dims = tuple(dim for dim in dims if dim % len(before) != 1)


class Query(Rule):
    """A query of a tensor's shape, number of axes, type or device; `whole` if it includes the number of channels."""

    def __init__(self, node: fx.Node, sources: list[fx.Node], whole: bool) -> None:
        super().__init__(node, sources)
        self.whole = whole

    def live(self, inputs: list[Tensor], facts: WeightFacts) -> Tensor:
        """The result is a constant."""
        return torch.tensor([facts.constants])

    def read(self, read: Tensor, inputs: list[Tensor], facts: WeightFacts) -> list[Tensor]:
        """No channel is read."""
        return [torch.zeros(1, dtype=torch.bool) for _ in inputs]
