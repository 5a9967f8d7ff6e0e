"""Context managers that restore a model after its forward pass has written to it, or refuse such writes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from prune_init.errors import ModelError
from prune_init.pruning.masks import Tensors

_HOOKS = frozenset(nn.Module().__dict__) - {"_parameters", "_buffers", "_modules"}
"""Attributes of every module that do not change in a pass, unless a net changes its own hooks while it runs."""


@contextmanager
def only_read(model: nn.Module) -> Iterator[None]:
    """Restore module attributes (training flags included), buffers, `requires_grad` and `grad` after the context."""
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    parameters = [(p, p.requires_grad, p.grad) for p in model.parameters()]
    try:
        with attributes_kept(model):
            yield
    finally:
        for parameter, requires_grad, gradient in parameters:
            parameter.requires_grad_(requires_grad).grad = gradient
        _restore(buffers)


@contextmanager
def weights_only_read(model: nn.Module, weights: Tensors, *, summed: bool = False) -> Iterator[None]:
    """Refuse a forward that writes to these weights; `summed` also detects writes past autograd, as through `.data`.

    Raises:
        InputError: the model writes to its weights.
    """

    def state() -> list[Any]:
        return [(w.data_ptr(), w._version, str(float(w.detach().sum())) if summed else "") for w in weights.values()]

    before = state()
    yield
    if state() != before:
        raise ModelError(model, "its forward writes to its weights; it may only read them")


@contextmanager
def attributes_kept(model: nn.Module, *, numbers: bool = True) -> Iterator[None]:
    """Restore the modules' attributes after the context, with the contents of containers and tensors in them.

    With `numbers=False`, plain values that stay plain values, such as a counter of calls, keep their new value.
    """
    modules = [(module, dict(module.__dict__)) for module in model.modules()]
    skipped = frozenset() if numbers else _HOOKS
    values = [value for _, attributes in modules for key, value in attributes.items() if key not in skipped]
    tensors = [(value, value.detach().clone()) for value in values if isinstance(value, Tensor)]
    held: list[tuple[Any, Any]] = [(v, v.copy()) for v in values if isinstance(v, (dict, list, set))]
    try:
        yield
    finally:
        for module, attributes in modules:
            counted = {} if numbers else _counted(module.__dict__, attributes)
            module.__dict__.clear()
            module.__dict__.update(attributes | counted)
        for container, before in held:
            if _identities(container) == _identities(before):  # it may be of a class that refuses changes
                continue
            if isinstance(container, list):
                container[:] = before
            else:
                container.clear()
                container.update(before)
        _restore(tensors)


def _identities(container: Any) -> list[int]:
    return [*map(id, container), *(map(id, container.values()) if isinstance(container, dict) else ())]


def _counted(now: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    plain = (bool, int, float, str)
    return {k: v for k, v in now.items() if isinstance(v, plain) and isinstance(before.get(k), plain)}


@torch.no_grad()
def _restore(tensors: list[tuple[Tensor, Tensor]]) -> None:
    for tensor, value in tensors:
        if not torch.equal(tensor, value):
            tensor.copy_(value)
