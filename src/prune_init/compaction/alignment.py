"""The two ways to bring the channels of one tensor in line with those of another."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Align(nn.Module):
    """The channels of `index` along `axis`, counted from the right; `zero`, one more than there are, stands for 0."""

    index: Tensor

    def __init__(self, index: Tensor, axis: int, zero: int) -> None:
        super().__init__()
        self.axis = axis
        self.padding = [0, 0] * (-axis - 1) + [0, 1] if (index == zero).any() else None
        self.register_buffer("index", index, persistent=False)  # the state_dict is that of the layers alone

    def forward(self, x: Tensor) -> Tensor:
        """Pick the channels."""
        if self.padding is not None:
            x = F.pad(x, self.padding)
        return x.index_select(self.axis, self.index)


class IndexAdd(nn.Module):
    """The first input, with the second added to its channels of `index`."""

    index: Tensor

    def __init__(self, index: Tensor, axis: int) -> None:
        super().__init__()
        self.axis = axis
        self.register_buffer("index", index, persistent=False)

    def forward(self, x: Tensor, part: Tensor) -> Tensor:
        """Add without writing out the zeros in between."""
        return torch.index_add(x, self.axis, self.index, part)
