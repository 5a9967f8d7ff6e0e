"""What each operation does to channels: which of its outputs can be other than 0, and which of its inputs are read.

Channels are counted along one axis of a tensor, given from the right, as broadcasting does. A value without such an
axis is one channel: it is kept whole.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, fx

from prune_init.pruning.operations import Channels


@dataclass(frozen=True, eq=False)
class WeightFacts:
    """What the rules need to know of the weights.

    Attributes:
        connects: of each layer, whether a weight leads from an input channel (column) to an output channel (row).
        emits: of each layer with a bias, the output channels that are other than 0 even if their inputs are 0.
        constants: whether constants count; False asks what the network's input reaches.
    """

    connects: dict[fx.Node, Tensor]
    emits: dict[fx.Node, Tensor]
    constants: bool = True


class Rule:
    """An operation that can be anything: it reads all it is given, whole, and returns something whole.

    Attributes:
        node: the operation.
        sources: the tensors it reads.
        reads: the axis of its inputs that counts channels, or None.
        axis: the axis of its output that does.
        widths: how many channels it reads of each input.
        wide_out: how many it writes.
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
        """The channels of each input that gradients can reach, given those of the output and the live inputs."""
        return [read.any()[None] for _ in inputs]


class Channelwise(Rule):
    """Each output channel is a function of the input channel in the same place: activations, pooling, dropout.

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
        """Those of the input, unless 0 becomes something else."""
        return inputs[0] | (facts.constants and self.at_zero is Channels.LIFTS)

    def read(self, read: Tensor, inputs: list[Tensor], facts: WeightFacts) -> list[Tensor]:
        """Those of the output; a relu that stays at 0 passes no gradient."""
        return [read & inputs[0] if self.at_zero is Channels.STOPS else read]


class Reshape(Channelwise):
    """Each channel becomes a block of features (flatten), or gains or loses axes of length 1."""

    def __init__(self, node: fx.Node, source: fx.Node, before: torch.Size, after: torch.Size) -> None:
        super().__init__(node, source, (1 - len(before), 1 - len(after)), before[1], Channels.PASSES)
        self.wide_out = after[1]
        self.block = after[1] // before[1]
        self.before, self.after = before, after

    @staticmethod
    def fits(before: torch.Size, after: torch.Size) -> bool:
        """Whether this is such a reshape: (N, C, ...) to (N, C * ...), (N, C, ...) or (N, C, 1, ...)."""
        if len(before) < 2 or len(after) < 2 or before[0] != after[0]:
            return False
        return len(after) == 2 or (after[1] == before[1] and (len(after) == 3 or after[2:].numel() == 1))

    def live(self, inputs: list[Tensor], facts: WeightFacts) -> Tensor:
        """Those of the input, in blocks."""
        return inputs[0].repeat_interleave(self.block)

    def read(self, read: Tensor, inputs: list[Tensor], facts: WeightFacts) -> list[Tensor]:
        """A channel of which any feature is read."""
        return [read.view(-1, self.block).any(1)]


class Query(Rule):
    """Something about the shape of a tensor. `whole` says that it includes the number of channels."""

    def __init__(self, node: fx.Node, sources: list[fx.Node], whole: bool) -> None:
        super().__init__(node, sources)
        self.whole = whole

    def live(self, inputs: list[Tensor], facts: WeightFacts) -> Tensor:
        """A constant."""
        return torch.tensor([facts.constants])

    def read(self, read: Tensor, inputs: list[Tensor], facts: WeightFacts) -> list[Tensor]:
        """No value is read."""
        return [torch.zeros(1, dtype=torch.bool) for _ in inputs]
