"""What a net's forward does apart from its operations, which a compact net does not do: it is told."""

import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from prune_init.pruning.structures import difference


def warn_of_state(model: nn.Module, traced: Sequence[nn.Module], layers: Collection[str]) -> None:
    """Warn of buffers and numbers that forward changed in the `traced` copies of `model`.

    The batch norms `layers`, whose function was replaced by a call of the layer, count their batches themselves.
    """
    found = {name for net in traced for name in _changed(model, net)}
    found -= {f"{layer}.num_batches_tracked" for layer in layers}
    if found:
        names = ", ".join(sorted(found))
        warnings.warn(
            f"the model's forward changes {names}, and the compact net's does not: fit if no output depends on it",
            stacklevel=4,
        )


@contextmanager
def autocast_told() -> Iterator[None]:
    """Warn if a forward that is traced in this context switches autocast: graphs do not contain it."""
    own, seen = torch.autocast.__enter__, []

    def enter(self: torch.autocast) -> Any:
        seen.append(self)
        return own(self)

    torch.autocast.__enter__ = enter  # type: ignore[method-assign]
    try:
        yield
    finally:
        torch.autocast.__enter__ = own  # type: ignore[method-assign]
    if seen:
        what = "the model's forward switches autocast on or off, and the compact net's does not"
        warnings.warn(f"{what}: its parts run in the precision in which it is called", stacklevel=5)


def _changed(model: nn.Module, traced: nn.Module) -> list[str]:
    after = dict(traced.named_buffers())
    changed = [name for name, buffer in model.named_buffers() if name in after and difference(buffer, after[name])]
    for path, module in model.named_modules():
        now = vars(traced.get_submodule(path))
        numbers = {key: value for key, value in vars(module).items() if isinstance(value, (int, float))}
        changed += [
            f"{path}.{key}".removeprefix(".")
            for key, value in numbers.items()
            if key != "training" and isinstance(now.get(key), (int, float)) and now[key] != value
        ]
    return changed
