"""Checks of an architecture's arguments when it is built, and the input shape that it remembers."""

from collections.abc import Sequence
from operator import index

from torch import nn

from prune_init.errors import InputError


def image_shape(input_shape: Sequence[int], smallest: int = 1) -> tuple[int, int, int]:
    """Normalise an input shape, such as the list of a configuration file, to (channels, height, width).

    Args:
        input_shape: Three positive integers, without the batch.
        smallest: The least height and width that the architecture's pooling allows.

    Raises:
        InputError: Not three positive integers, or an image side below `smallest`.
    """
    key = "architecture.input_shape"
    try:
        channels, height, width = (index(size) for size in input_shape)
    except (TypeError, ValueError):
        raise InputError(key, input_shape, "give three integers: [channels, height, width]") from None
    if min(channels, height, width) < 1:
        raise InputError(key, [channels, height, width], "every size must be at least 1")
    if min(height, width) < smallest:
        allowed = f"this architecture's pooling needs height and width of at least {smallest}"
        raise InputError(key, [channels, height, width], allowed)
    return channels, height, width


def positive(name: str, value: int) -> int:
    """Return `value`, or raise an InputError that names `architecture.<name>` if it is below 1."""
    if value < 1:
        raise InputError(f"architecture.{name}", value, "must be at least 1")
    return value


def with_input_shape(model: nn.Module, shape: tuple[int, int, int]) -> nn.Module:
    """Store `shape` as the model's attribute `input_shape`, from which SynFlow's all-ones input is made."""
    model.input_shape = shape  # type: ignore[assignment]  # a plain attribute, not a parameter or a module
    return model
