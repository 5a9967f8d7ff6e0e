"""Making composed functions visible to `PathMode`: torch functions written in Python, and custom autograd functions."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FunctionType
from typing import Any
from unittest.mock import patch

import torch

from prune_init.pruning.paths.kinds import Kinds


def is_composed(func: Callable[..., Any]) -> bool:
    """Whether the function is written in Python in torch itself, so that its parts can be followed."""
    return isinstance(func, FunctionType) and func.__module__ in ("torch.nn.functional", "torch.functional")


@contextmanager
def taken_apart(func: Callable[..., Any]) -> Iterator[None]:
    """Inside the context, such a function runs its body instead of handing the call to `__torch_function__` again."""
    module = sys.modules[func.__module__]
    with ExitStack() as inside:
        for check in ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic"):
            if hasattr(module, check):
                inside.enter_context(patch.object(module, check, lambda *_: False))
        yield


@contextmanager
def functions_shown(kinds: Kinds) -> Iterator[None]:
    """Inside the context, autograd functions only run their forward: a custom backward says nothing about paths."""
    original = torch.autograd.Function.__dict__["apply"]

    def apply(cls: Any, *args: Any, **kwargs: Any) -> Any:
        if not kinds.carries((args, kwargs)):
            return original.__get__(None, cls)(*args, **kwargs)
        split = cls.setup_context is not torch.autograd.Function.setup_context
        return cls.forward(*args, **kwargs) if split else cls.forward(_Context(len(args)), *args, **kwargs)

    with patch.object(torch.autograd.Function, "apply", classmethod(apply)):
        yield


class _Context:
    """A stand-in for the context in which forward saves tensors for its backward, which never runs."""

    def __init__(self, inputs: int) -> None:
        self.needs_input_grad = (True,) * inputs

    def _nothing(self, *_: Any) -> None:
        pass

    save_for_backward = mark_dirty = mark_non_differentiable = set_materialize_grads = _nothing
