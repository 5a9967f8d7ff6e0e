"""The class of compact nets, and modules for what fx would freeze when it traces a net that is unpickled."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import fx, nn

from prune_init.tracing.sizes import check_size


class CompactNet(fx.GraphModule):
    """A net of plain layers under their old names, and the operations between them.

    Attributes:
        frozen: the names of the modules that are always in eval mode.
    """

    frozen: Sequence[str] = ()

    def train(self, mode: bool = True) -> "CompactNet":
        """Change the mode, as the whole net's own `train` does it."""
        super().train(mode)
        for name in self.frozen:
            for module in self.get_submodule(name).modules():
                module.training = False
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> "CompactNet":
        return self._handed_on(super().__deepcopy__(memo))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as fx does it, which returns a plain GraphModule."""
        return _unpickled, super().__reduce__()

    def _handed_on(self: Any, twin: Any) -> Any:
        for name in ("compaction", "input_shape", "frozen"):  # fx copies only the graph and what it refers to
            if hasattr(self, name):
                setattr(twin, name, getattr(self, name))
        return twin


def _unpickled(function: Callable[..., Any], arguments: tuple[Any, ...]) -> CompactNet:
    net = function(*arguments)
    return CompactNet._handed_on(net, CompactNet(net, net.graph, class_name=type(net).__name__))


class Mode(nn.Module):
    """Tells whether the net is in train mode: fx, which traces a net that is unpickled, would freeze an attribute."""

    def forward(self) -> bool:
        """The mode."""
        return self.training


class Decided(nn.Module):
    """Checks a number by which forward decided while the net was traced; see `check_size`."""

    def __init__(self, kind: str, expected: Any) -> None:
        super().__init__()
        self.kind, self.expected = kind, expected

    def forward(self, found: Any) -> None:
        """Refuse another number."""
        check_size(found, self.kind, self.expected)


class Returned(nn.Module):
    """Makes what forward returns: fx, which traces a net that is unpickled, would make a plain dictionary of it."""

    def __init__(self, kind: type, names: Sequence[str]) -> None:
        super().__init__()
        self.kind, self.names = kind, tuple(names)

    def forward(self, *parts: Any) -> Any:
        """An instance with these parts."""
        return self.kind(**dict(zip(self.names, parts, strict=True)))
