"""Equivalence classes of positions: feature maps of an all-ones image are constant except near a border.

Two rows of a feature map are equivalent if the same computation produces them, kernel tap by kernel tap, back to the
image: then their values are equal, and so are the derivatives of these values by every weight. A convolution need only
be computed for one row and one column of each class. Classes follow from the windows that are read, with padding as a
class of its own, never from the values, which may be equal by chance. After an operation that the table of operations
does not know, no classes are known: neither of its result, nor of its operands, which it may have written to.
"""

from collections.abc import Callable, Hashable, Iterable
from functools import cache, reduce
from typing import Any, NamedTuple

import torch
from torch import Tensor

from prune_init.pruning.behaviour import Operation, Positions
from prune_init.pruning.operations import lookup
from prune_init.pruning.structures import leaves

Classes = tuple[int, ...]
"""The class of each row (or column), numbered in the order of first occurrence."""

PADDING = -1


class PositionClasses(NamedTuple):
    """Which rows of a feature map are equivalent, and which columns."""

    rows: Classes
    columns: Classes

    def is_worth_it(self) -> bool:
        """Whether one position of each class is at most half of all positions."""
        return 2 * (max(self.rows) + 1) * (max(self.columns) + 1) <= len(self.rows) * len(self.columns)


class Representatives(NamedTuple):
    """How all rows (or columns) of an output are computed from one representative of each class.

    Attributes:
        indices: the input rows that the representatives' windows read, one window after the other, int64.
        inside: 1 for each of these, or 0 if it is padding, float64.
        spread: float64 one-hot matrix of shape (rows, classes): the class of each row.
    """

    indices: Tensor
    inside: Tensor
    spread: Tensor


def uniform(x: Tensor) -> Tensor:
    """Note that x, (N, C, H, W), has the same value at all positions; returns x."""
    return note(x, PositionClasses((0,) * x.shape[2], (0,) * x.shape[3])) if x.ndim == 4 else x


def note(x: Tensor, classes: PositionClasses) -> Tensor:
    """Attach position classes to x, valid for its memory in its current version; returns x."""
    x._position_classes = (classes, x._version, x.untyped_storage()._cdata)  # type: ignore[attr-defined]
    return x


def of(x: Tensor) -> PositionClasses | None:
    """The position classes of x; None if there are none or x may have been changed since, even through a view."""
    classes, *state = getattr(x, "_position_classes", (None,))
    storage = x.untyped_storage()
    unchanged = state == [x._version, storage._cdata] and not hasattr(storage, "_exposed")
    return classes if unchanged else None


def after(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> PositionClasses | None:
    """The position classes of the result of a torch function; to be called before it, as it may write to its input."""
    operation = lookup(func)
    match operation.positions if operation else Positions.EXPOSES:
        case Positions.EACH:
            first = args[0] if args else kwargs.get("input")
            return of(first) if isinstance(first, Tensor) else None
        case Positions.JOIN:
            operands = (*args, *(value for key, value in kwargs.items() if key != "out"))
            return _joined([value for value in operands if isinstance(value, Tensor)])
        case Positions.WINDOW if isinstance(operation, Operation):
            return _windowed(operation.bound(args, kwargs))
        case Positions.EXPOSES:
            _expose((args, kwargs))
    return None


def _expose(values: Any) -> None:
    """Mark the memory of all tensors in `values`: it may be written to without a new version, as through `x.data`."""
    for x in leaves(values):
        if x.layout is torch.strided:
            x.untyped_storage()._exposed = True  # type: ignore[attr-defined]


def _joined(operands: list[Tensor]) -> PositionClasses | None:
    """The classes of a function of several maps of one size, and of values that are the same at all positions."""
    maps = [x for x in operands if any(size != 1 for size in x.shape[-2:])]
    known = [classes for x in maps if (classes := of(x)) is not None]
    if not maps or len(known) < len(maps) or len({x.shape[-2:] for x in maps}) > 1:
        return None
    return reduce(lambda a, b: PositionClasses(_both(a.rows, b.rows), _both(a.columns, b.columns)), known)


def _windowed(given: dict[str, Any]) -> PositionClasses | None:
    known = of(given["input"])
    if known is None or given.get("ceil_mode") or isinstance(given.get("padding"), str):
        return None
    size = given["weight"].shape[2:] if "weight" in given else given["kernel_size"]
    stride = given.get("stride", 1 if "weight" in given else None)
    how = [size, stride or size, given.get("padding", 0), given.get("dilation", 1)]
    ways = zip(known, *(pair(value) for value in how), strict=True)
    return PositionClasses(*(windows(*way) for way in ways))


@cache
def windows(classes: Classes, size: int, stride: int, padding: int, dilation: int) -> Classes:
    """The classes of the outputs of a convolution or pooling, one for each different window of input classes."""
    padded = (PADDING,) * padding + classes + (PADDING,) * padding
    reach = dilation * (size - 1) + 1
    return _numbered(padded[start : start + reach : dilation] for start in range(0, len(padded) - reach + 1, stride))


@cache
def representatives(
    classes: Classes, length: int, size: int, stride: int, padding: int, dilation: int
) -> Representatives:
    """The representatives of an output with these classes whose input has `length` rows."""
    firsts = torch.tensor([classes.index(one) for one in range(max(classes) + 1)])
    indices = (firsts[:, None] * stride - padding + torch.arange(size) * dilation).flatten()
    inside = (indices >= 0) & (indices < length)
    spread = torch.nn.functional.one_hot(torch.tensor(classes), len(firsts))
    return Representatives(indices.clamp(0, length - 1), inside.double(), spread.double())


def patches(x: Tensor, rows: Representatives, columns: Representatives) -> Tensor:
    """The window of one position of each class, in the layout of `unfold`: (C, H, W) to (C x window, classes)."""
    down, across = rows.spread.shape[1], columns.spread.shape[1]
    read = x.index_select(1, rows.indices).index_select(2, columns.indices) * torch.outer(rows.inside, columns.inside)
    windows = read.view(len(x), down, -1, across, len(columns.indices) // across).permute(0, 2, 4, 1, 3)
    return windows.reshape(-1, down * across)


def everywhere(y: Tensor, rows: Representatives, columns: Representatives) -> Tensor:
    """Expand one position of each class, (C, classes), to all positions, (C, H, W)."""
    small = y.view(len(y), rows.spread.shape[1], columns.spread.shape[1])
    return rows.spread @ (small @ columns.spread.t())


@cache
def _both(one: Classes, other: Classes) -> Classes:
    return _numbered(zip(one, other, strict=True))


def _numbered(things: Iterable[Hashable]) -> Classes:
    numbers: dict[Hashable, int] = {}
    return tuple(numbers.setdefault(thing, len(numbers)) for thing in things)


def pair(value: Any) -> tuple[int, int]:
    """Rows and columns of an argument that torch takes as one number, or as a sequence of one or two."""
    rows, *columns = value if isinstance(value, (tuple, list)) else (value,)
    return rows, *(columns or (rows,))
