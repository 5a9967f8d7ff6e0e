"""An all-ones image looks the same everywhere but near its border, and so does every feature map made of it.

Two rows of a feature map are of one kind if they are made by the same computation, tap by tap, back to the image: then
they hold the same numbers, and these have the same derivatives by every weight. So a convolution need only be computed
for one row of each kind, and for one column of each. Kinds follow from the windows that are read, padding being a
kind of its own; never from the numbers, which may be equal by chance. What an operation does to them is known, or
else nothing is said of its result.
"""

from collections.abc import Callable, Hashable, Iterable
from functools import cache, reduce
from typing import Any, NamedTuple

import torch
from torch import Tensor

Kinds = tuple[int, ...]
"""The kind of each row, or of each column, numbered as they first occur."""

PADDING = -1


class Alike(NamedTuple):
    """Which rows of a feature map are of one kind, and which columns."""

    rows: Kinds
    columns: Kinds

    def is_worth_it(self) -> bool:
        """Whether one place of each kind is at most half of all places."""
        return 2 * (max(self.rows) + 1) * (max(self.columns) + 1) <= len(self.rows) * len(self.columns)


class Line(NamedTuple):
    """How the output's rows (or columns) are computed from one of each kind.

    Attributes:
        places: of the input, those that the windows of these read, one window after the other, int64.
        inside: 1 for each of them, or 0 for padding, float64.
        spread: float64 matrix from kinds to all rows: which kind each row is of.
    """

    places: Tensor
    inside: Tensor
    spread: Tensor


def uniform(x: Tensor) -> Tensor:
    """Note that x, (N, C, H, W), is the same everywhere; returns x."""
    return note(x, Alike((0,) * x.shape[2], (0,) * x.shape[3])) if x.ndim == 4 else x


def note(x: Tensor, alike: Alike) -> Tensor:
    """Note what is known of x as it is now; returns x."""
    x._alike = (alike, x._version)  # type: ignore[attr-defined]
    return x


def of(x: Tensor) -> Alike | None:
    """What is known of x; nothing, if it was changed since, be it through a view."""
    alike, version = getattr(x, "_alike", (None, None))
    return alike if version == x._version else None


def after(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Alike | None:
    """What will be known of the result of a function of torch; to be asked before it is called."""
    name = getattr(func, "__name__", "").strip("_")  # relu_ and __iadd__ are no different here
    if name in _EACH:
        return of(args[0]) if args and isinstance(args[0], Tensor) else None
    if name in _JOINS:
        return _joined([value for value in args if isinstance(value, Tensor)])
    if name in _WINDOWS:
        return _windowed(dict(zip(_WINDOWS[name], args, strict=False)) | kwargs)
    return None


def _joined(operands: list[Tensor]) -> Alike | None:
    """Of several maps of one size, and of values that are the same at all places."""
    maps = [x for x in operands if any(size != 1 for size in x.shape[-2:])]
    known = [of(x) for x in maps]
    if not maps or any(alike is None for alike in known) or len({x.shape[-2:] for x in maps}) > 1:
        return None
    return reduce(lambda a, b: Alike(_both(a.rows, b.rows), _both(a.columns, b.columns)), known)  # type: ignore[union-attr]


def _windowed(given: dict[str, Any]) -> Alike | None:
    known = of(given["input"])
    if known is None or given.get("ceil_mode") or isinstance(given.get("padding"), str):
        return None
    size = given["weight"].shape[2:] if "weight" in given else _pair(given["kernel_size"])
    stride = given.get("stride")
    how = [size, size if stride is None else stride, given.get("padding", 0), given.get("dilation", 1)]
    ways = zip(known, *(_pair(value) for value in how), strict=True)
    return Alike(*(windows(*way) for way in ways))


@cache
def windows(kinds: Kinds, size: int, stride: int, padding: int, dilation: int) -> Kinds:
    """The kinds of the outputs of a convolution or a pooling: as many as there are different windows."""
    padded = (PADDING,) * padding + kinds + (PADDING,) * padding
    reach = dilation * (size - 1) + 1
    return _numbered(padded[start : start + reach : dilation] for start in range(0, len(padded) - reach + 1, stride))


@cache
def line(kinds: Kinds, length: int, size: int, stride: int, padding: int, dilation: int) -> Line:
    """What to compute of an output of these kinds, its input having `length` rows."""
    firsts = torch.tensor([kinds.index(kind) for kind in range(max(kinds) + 1)])
    places = (firsts[:, None] * stride - padding + torch.arange(size) * dilation).flatten()
    inside = (places >= 0) & (places < length)
    spread = torch.nn.functional.one_hot(torch.tensor(kinds), len(firsts))
    return Line(places.clamp(0, length - 1), inside.double(), spread.double())


def patches(x: Tensor, rows: Line, columns: Line) -> Tensor:
    """The windows of one place of each kind, as `unfold` has them: (C, H, W) to (C x window, kinds)."""
    down, across = rows.spread.shape[1], columns.spread.shape[1]
    read = x.index_select(1, rows.places).index_select(2, columns.places) * torch.outer(rows.inside, columns.inside)
    windows = read.view(len(x), down, -1, across, len(columns.places) // across).permute(0, 2, 4, 1, 3)
    return windows.reshape(-1, down * across)


def everywhere(y: Tensor, rows: Line, columns: Line) -> Tensor:
    """From one place of each kind, (C, kinds), to all places, (C, H, W)."""
    small = y.view(len(y), rows.spread.shape[1], columns.spread.shape[1])
    return rows.spread @ (small @ columns.spread.t())


@cache
def _both(one: Kinds, other: Kinds) -> Kinds:
    return _numbered(zip(one, other, strict=True))


def _numbered(things: Iterable[Hashable]) -> Kinds:
    numbers: dict[Hashable, int] = {}
    return tuple(numbers.setdefault(thing, len(numbers)) for thing in things)


def _pair(value: Any) -> tuple[int, int]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)


# Functions of each element, or of each place of the first argument alone.
_EACH = frozenset("relu relu6 leaky_relu hardtanh elu gelu silu sigmoid tanh batch_norm contiguous clone".split())
_JOINS = frozenset("add radd iadd sub isub mul rmul imul".split())
_WINDOWS = {
    "conv2d": "input weight bias stride padding dilation groups".split(),
    "max_pool2d": "input kernel_size stride padding dilation ceil_mode return_indices".split(),
    "avg_pool2d": "input kernel_size stride padding ceil_mode".split(),
}
