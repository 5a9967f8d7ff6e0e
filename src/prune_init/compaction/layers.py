"""Rules of layers with parameters: convolutions, linear layers, batch norms."""

from typing import Any

from torch import Tensor, fx, nn

from prune_init.compaction.rules import Channelwise, Rule, WeightFacts
from prune_init.pruning.behaviour import Channels

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, *TRANSPOSED, nn.Linear)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class LayerRule(Rule):
    """A convolution, grouped or not, a transposed convolution without groups, or a linear layer."""

    def __init__(self, node: fx.Node, source: fx.Node, module: Any) -> None:
        super().__init__(node, [source])
        self.module = module
        self.groups = getattr(module, "groups", 1)
        self.reads = self.axis = -1 if isinstance(module, nn.Linear) else 1 - module.weight.ndim
        self.transposed = isinstance(module, TRANSPOSED)  # whose weight has the input channels first
        self.wide_out, wide = module.weight.shape[:2] if not self.transposed else module.weight.shape[1::-1]
        self.widths = [wide * self.groups]

    def live(self, inputs: list[Tensor], facts: WeightFacts) -> Tensor:
        """Output channels with a kept weight from a live input channel, or with a bias."""
        blocks = self._blocks(facts) & inputs[0].view(self.groups, 1, -1)
        return blocks.any(2).flatten() | facts.emits[self.node]

    def read(self, read: Tensor, inputs: list[Tensor], facts: WeightFacts) -> list[Tensor]:
        """Input channels with a kept weight to an output channel that is read."""
        blocks = self._blocks(facts) & read.view(self.groups, -1, 1)
        return [blocks.any(1).flatten()]

    def _blocks(self, facts: WeightFacts) -> Tensor:
        return facts.connects[self.node].view(self.groups, self.wide_out // self.groups, -1)


class NormRule(Channelwise):
    """A batch norm. A channel that is always 0 has mean 0, and comes out as 0 if its bias is 0."""

    def __init__(self, node: fx.Node, source: fx.Node, module: Any, axis: int, channels: int) -> None:
        super().__init__(node, source, (axis, axis), channels, Channels.PASSES)
        self.module = module

    def live(self, inputs: list[Tensor], facts: WeightFacts) -> Tensor:
        """Live channels of the input, and channels to which the norm itself gives a constant."""
        return inputs[0] | facts.emits[self.node]
