"""What a net takes and returns: a tensor, or a tuple, list or dict of them, nested at will."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map


def arguments(model: nn.Module, x: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments with which `model` is called on x.

    A tuple or list gives the positional arguments and a mapping the keyword arguments, if `model.forward` can be
    called so. Otherwise, and for anything else, x is the only argument.
    """
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}
    if isinstance(x, (tuple, list)):
        args = tuple(x)
    elif isinstance(x, Mapping) and all(isinstance(key, str) for key in x):
        kwargs = dict(x)
    else:
        return (x,), {}
    try:
        inspect.signature(model.forward).bind(*args, **kwargs)
    except (TypeError, ValueError):  # it cannot be called so, or has no signature
        return (x,), {}
    return args, kwargs


def leaves(x: Any) -> list[Tensor]:
    """The tensors of a structure, in order."""
    return [leaf for leaf in tree_leaves(_plain(x)) if isinstance(leaf, Tensor)]


def mapped(function: Callable[[Tensor], Any], x: Any) -> Any:
    """A structure like x with `function` applied to each of its tensors; all else is as it was."""
    return tree_map(lambda leaf: function(leaf) if isinstance(leaf, Tensor) else leaf, _plain(x))


def _plain(x: Any) -> Any:
    """Mappings that are no dict, such as a tokeniser's output, would pass for a leaf."""
    return dict(x) if isinstance(x, Mapping) and not isinstance(x, dict) else x
