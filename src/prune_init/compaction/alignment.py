"""Two modules that line up the channels of one tensor with those of another: a gather and an indexed addition."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Align(nn.Module):
    """Gather the channels `index` along `axis`, which is negative; the index `zero`, their number, gives zeros."""

    index: Tensor

    def __init__(self, index: Tensor, axis: int, zero: int) -> None:
        super().__init__()
        self.axis = axis
        self.padding = [0, 0] * (-axis - 1) + [0, 1] if (index == zero).any() else None
        self.register_buffer("index", index, persistent=False)  # the state_dict holds the layers' tensors only

    def forward(self, x: Tensor) -> Tensor:
        """Gather the channels."""
        if self.padding is not None:
            x = F.pad(x, self.padding)
        return x.index_select(self.axis, self.index)


class IndexAdd(nn.Module):
    """Add the second input to the channels `index` of the first."""

    index: Tensor

    def __init__(self, index: Tensor, axis: int) -> None:
        super().__init__()
        self.axis = axis
        self.register_buffer("index", index, persistent=False)

    def forward(self, x: Tensor, part: Tensor) -> Tensor:
        """Add without making a tensor that is zero in the other channels."""
        dtype = torch.promote_types(x.dtype, part.dtype)  # they differ after casts and under autocast
        return torch.index_add(x.to(dtype), self.axis, self.index, part.to(dtype))
