"""Copies of nets, also of those that hold a tensor that was computed, such as the weight of weight norm."""

import copy
from collections.abc import Mapping
from typing import Any, TypeVar

from torch import Tensor, nn

from prune_init.errors import ModelError, first_line

Model = TypeVar("Model", bound=nn.Module)


def copied(model: Model, memo: Mapping[int, Any] | None = None) -> Model:
    """A deep copy of `model`; `memo` gives what stands for some of its parts, by id.

    Raises:
        InputError: the model has attributes that cannot be copied.
    """
    try:
        return copy.deepcopy(model, {**computed(model), **(memo or {})})
    except Exception as error:  # the attributes' own code runs here
        why = f"cannot be copied: {first_line(error)}; keep such objects out of the attributes of its modules"
        raise ModelError(model, why) from error


def computed(model: nn.Module) -> dict[int, Any]:
    """Copies of the attributes that are computed tensors, by id: deepcopy, whose memo this is, refuses them."""
    values = [value for module in model.modules() for value in vars(module).values()]
    return {id(value): value.detach().clone() for value in values if isinstance(value, Tensor) and not value.is_leaf}
