"""Inputs like an example, for any number of examples."""

import torch
from torch import Tensor


def rows(example_input: Tensor, size: int) -> Tensor:
    """The examples of a batch, in turn."""
    return example_input[torch.arange(size, device=example_input.device) % len(example_input)]


def like(example_input: Tensor, size: int) -> Tensor:
    """Normal random numbers, always the same; rows of the example where it holds whole numbers, such as token ids."""
    if not (example_input.is_floating_point() or example_input.is_complex()):
        return rows(example_input, size)
    draw = torch.Generator().manual_seed(size)  # leaves the global random state alone
    x = torch.randn((size, *example_input.shape[1:]), generator=draw, dtype=torch.float32)
    return x.to(example_input.device, example_input.dtype)
