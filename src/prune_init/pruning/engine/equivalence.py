"""Equivalence classes of positions: all-ones images and their feature maps are the same everywhere but near a border.

Two rows of a feature map are equivalent if they are made by the same computation, tap by tap, back to the image: then
they hold the same numbers, and these have the same derivatives by every weight. So a convolution need only be computed
for one row of each class, and for one column of each. Classes follow from the windows that are read, padding being a
class of its own; never from the numbers, which may be equal by chance. Of the result of an operation that the table of
operations does not know, nothing is said.
"""

from collections.abc import Callable, Hashable, Iterable
from functools import cache, reduce
from typing import Any, NamedTuple

import torch
from torch import Tensor

from prune_init.pruning.operations import Operation, Positions, lookup

Classes = tuple[int, ...]
"""The class of each row, or of each column, numbered as they first occur."""

PADDING = -1


class PositionClasses(NamedTuple):
    """Which rows of a feature map are equivalent, and which columns."""

    rows: Classes
    columns: Classes

    def is_worth_it(self) -> bool:
        """Whether one position of each class is at most half of all positions."""
        return 2 * (max(self.rows) + 1) * (max(self.columns) + 1) <= len(self.rows) * len(self.columns)


class Representatives(NamedTuple):
    """How the output's rows (or columns) are computed from one of each class.

    Attributes:
        indices: of the input, those that the windows of these read, one window after the other, int64.
        inside: 1 for each of them, or 0 for padding, float64.
        spread: float64 matrix from classes to all rows: which class each row is of.
    """

    indices: Tensor
    inside: Tensor
    spread: Tensor


def uniform(x: Tensor) -> Tensor:
    """Note that x, (N, C, H, W), is the same everywhere; returns x."""
    return note(x, PositionClasses((0,) * x.shape[2], (0,) * x.shape[3])) if x.ndim == 4 else x


def note(x: Tensor, classes: PositionClasses) -> Tensor:
    """Note what is known of x as it is now; returns x."""
    x._position_classes = (classes, x._version)  # type: ignore[attr-defined]
    return x


def of(x: Tensor) -> PositionClasses | None:
    """What is known of x; nothing, if it was changed since, be it through a view."""
    classes, version = getattr(x, "_position_classes", (None, None))
    return classes if version == x._version else None


def after(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> PositionClasses | None:
    """What will be known of the result of a function of torch; to be asked before it is called."""
    operation = lookup(func)
    match operation and operation.positions:
        case Positions.EACH:
            return of(args[0]) if args and isinstance(args[0], Tensor) else None
        case Positions.JOIN:
            return _joined([value for value in args if isinstance(value, Tensor)])
        case Positions.WINDOW if isinstance(operation, Operation):
            return _windowed(operation.bound(args, kwargs))
    return None


def _joined(operands: list[Tensor]) -> PositionClasses | None:
    """Of several maps of one size, and of values that are the same at all positions."""
    maps = [x for x in operands if any(size != 1 for size in x.shape[-2:])]
    known = [classes for x in maps if (classes := of(x)) is not None]
    if not maps or len(known) < len(maps) or len({x.shape[-2:] for x in maps}) > 1:
        return None
    return reduce(lambda a, b: PositionClasses(_both(a.rows, b.rows), _both(a.columns, b.columns)), known)


def _windowed(given: dict[str, Any]) -> PositionClasses | None:
    known = of(given["input"])
    if known is None or given.get("ceil_mode") or isinstance(given.get("padding"), str):
        return None
    size = given["weight"].shape[2:] if "weight" in given else _pair(given["kernel_size"])
    stride = given.get("stride", 1 if "weight" in given else None)
    how = [size, size if stride is None else stride, given.get("padding", 0), given.get("dilation", 1)]
    ways = zip(known, *(_pair(value) for value in how), strict=True)
    return PositionClasses(*(windows(*way) for way in ways))


@cache
def windows(classes: Classes, size: int, stride: int, padding: int, dilation: int) -> Classes:
    """The classes of the outputs of a convolution or a pooling: as many as there are different windows."""
    padded = (PADDING,) * padding + classes + (PADDING,) * padding
    reach = dilation * (size - 1) + 1
    return _numbered(padded[start : start + reach : dilation] for start in range(0, len(padded) - reach + 1, stride))


@cache
def representatives(
    classes: Classes, length: int, size: int, stride: int, padding: int, dilation: int
) -> Representatives:
    """What to compute of an output with these classes, its input having `length` rows."""
    firsts = torch.tensor([classes.index(one) for one in range(max(classes) + 1)])
    indices = (firsts[:, None] * stride - padding + torch.arange(size) * dilation).flatten()
    inside = (indices >= 0) & (indices < length)
    spread = torch.nn.functional.one_hot(torch.tensor(classes), len(firsts))
    return Representatives(indices.clamp(0, length - 1), inside.double(), spread.double())


def patches(x: Tensor, rows: Representatives, columns: Representatives) -> Tensor:
    """The windows of one position of each class, as `unfold` has them: (C, H, W) to (C x window, classes)."""
    down, across = rows.spread.shape[1], columns.spread.shape[1]
    read = x.index_select(1, rows.indices).index_select(2, columns.indices) * torch.outer(rows.inside, columns.inside)
    windows = read.view(len(x), down, -1, across, len(columns.indices) // across).permute(0, 2, 4, 1, 3)
    return windows.reshape(-1, down * across)


def everywhere(y: Tensor, rows: Representatives, columns: Representatives) -> Tensor:
    """From one position of each class, (C, classes), to all positions, (C, H, W)."""
    small = y.view(len(y), rows.spread.shape[1], columns.spread.shape[1])
    return rows.spread @ (small @ columns.spread.t())


@cache
def _both(one: Classes, other: Classes) -> Classes:
    return _numbered(zip(one, other, strict=True))


def _numbered(things: Iterable[Hashable]) -> Classes:
    numbers: dict[Hashable, int] = {}
    return tuple(numbers.setdefault(thing, len(numbers)) for thing in things)


def _pair(value: Any) -> tuple[int, int]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)
