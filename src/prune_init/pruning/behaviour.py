"""What the table of operations can say of an operation: its columns, and the values that they have."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any


class Paths(Enum):
    """What an operation does to paths from input to output."""

    MOVES = "moves, repeats or leaves out elements; new elements are 0"
    MOVES_LIKE = "moves the elements of the first operand; later operands only give a shape"
    STRIDED = "moves the elements of the memory, in whose order they are addressed"
    LOOKUP = "reads elements at indices; where the input gives the indices, paths begin"
    POINTWISE = "a function of each element; the statistics that norms and softmax divide by carry no paths"
    SOFTMAX = "a function of each element, constant along a dimension of a single one"
    DROPOUT = "scales each element by a random number"
    UNION = "combines the operands element by element; paths lead through each of them"
    SUM = "a union of two operands, one of which may be multiplied by `alpha`; alpha=0 removes it"
    LERP = "a union of two operands, weighted by 1 - w and w; w = 0 or w = 1 removes one of them"
    PRODUCT = "multiplies element by element; the result is 0 where an operand is 0"
    QUOTIENT = "divides element by element; the result is 0 where the dividend is 0"
    REDUCTION = "combines all elements along some dimensions"
    EXTREME = "a reduction that also returns indices if a dimension is given; with two tensors, a union"
    MOMENTS = "a reduction that returns two results"
    CUMULATION = "combines each element with all elements before it"
    CUMULATIVE_EXTREME = "a cumulation that also returns indices"
    CAST = "changes the type or the device of the elements, not their values"
    RANDOM = "draws new random numbers at each call"
    RANDOM_LIKE = "draws new random numbers at each call; an operand only gives its shape and type"
    CREATION = "makes a constant; an operand only gives its shape and type"
    QUERY = "returns a property such as the shape, which does not depend on the elements"
    ANSWER = "returns a Python value or an array that depends on the elements"
    HINT = "returns the operand itself: only affects how it is computed"
    BORROWS = "returns a tensor in the memory of another object"
    COMPOSED = "is written in Python in torch itself, so its parts are followed"
    # The members below each have a rule of their own in `pruning/paths/`.
    LINEAR, BILINEAR, CONVOLUTION, TRANSPOSED_CONVOLUTION = (
        "linear",
        "bilinear",
        "convolution",
        "transposed convolution",
    )
    MATMUL, OUTER, EINSUM, TENSORDOT = "matmul", "outer", "einsum", "tensordot"
    PRODUCT_ADDED, MATMUL_ADDED, GLU, ATTENTION = "a + b * c", "a + b @ c", "glu", "attention"
    RECURRENT, RECURRENT_CELL, EMBEDDING, ONE_HOT = "recurrent layer", "recurrent cell", "embedding", "one_hot"
    BATCH_NORM, LAYER_NORM, RMS_NORM, GROUP_NORM = "batch norm", "layer norm", "rms norm", "group norm"
    AVERAGE_POOL, MAX_POOL, ADAPTIVE_POOL, WEIGHTED_SUM = "average pool", "max pool", "adaptive pool", "weighted sum"
    CONCAT, PAD, WHERE, MASKED_FILL, COPY, ZERO, ALIAS = (
        "concat",
        "pad",
        "where",
        "masked_fill",
        "copy",
        "zero",
        "alias",
    )
    INDEX_ADD, SCATTER_ADD, GATHER, FOLD = "index_add", "scatter_add", "gather", "fold"


class Memory(Enum):
    """Where the result of an operation lies, if it may lie in the memory of the first operand."""

    SAME = "it is the operand; with dropout, if nothing is drawn"
    SHARED = "it is a view of the operand, or may be one"


class Channels(Enum):
    """What an operation does to channels."""

    STOPS = "treats each channel separately; maps 0 to 0, where its gradient is 0"
    PASSES = "treats each channel separately; maps 0 to 0, where its gradient need not be 0"
    LIFTS = "treats each channel separately; maps 0 to another number"
    APART = "treats each channel separately; what it maps 0 to depends on its arguments or is not known"
    REDUCES = "reduces dimensions; treats each channel separately if these come after the channels; maps 0 to 0"
    PAD = "pads dimensions; treats each channel separately if these come after them; maps 0 to 0 if it pads with 0"
    RESHAPE = "turns each channel into a block of channels, or adds or removes axes of length 1"
    SUM = "adds the channels of its operands in pairs"
    PRODUCT = "multiplies the channels of its operands in pairs"
    QUOTIENT = "divides the first operand"
    CONCAT = "puts the channels of its operands side by side"
    LAYER = "maps the channels linearly by a weight"
    BATCH_NORM = "scales and shifts each channel separately by a weight and a bias"
    SIZES = "returns the sizes of a tensor"
    FACT = "returns the number of axes, the type or the device of a tensor"


class Law(Enum):
    """Why an operation breaks the conservation laws of synaptic flow: it is not homogeneous of degree 1."""

    SATURATES = "saturates"
    LIMITS = "limits its values to a range"
    BENDS = "is not linear on each side of 0"
    NORMALISES = "normalises: scaling its input does not scale its output"
    CURVES = "is not homogeneous of degree 1"
    MULTIPLIES = "multiplies values that all depend on the input"
    ADDS = "adds a constant"

    @property
    def depends_on_use(self) -> bool:
        """Whether only some uses break the laws; a product with a constant, or a limit at 0, obeys them."""
        return self in (Law.LIMITS, Law.MULTIPLIES, Law.ADDS)


class Positions(Enum):
    """What an operation does to equivalent positions of a feature map; see `engine/equivalence.py`."""

    EACH = "computes each position from the same position of the first argument"
    JOIN = "computes each position from the same position of several tensors"
    WINDOW = "computes each position from a window by the same function"
    EXPOSES = "gives access to the memory of its operands, so nothing is known of their positions any more"


@dataclass(frozen=True)
class Operation:
    """What is known about an operation. None means unknown; for `law`, homogeneous of degree 1 or not examined.

    `parameters` are the names of its arguments in order, if a reader of the table needs them. `native` are those of the
    low-level function of the same name (`torch.batch_norm`), if it has more arguments or another order. `memory` is
    None if the result has memory of its own.
    """

    paths: Paths
    channels: Channels | None = None
    law: Law | None = None
    positions: Positions | None = None
    parameters: tuple[str, ...] = ()
    native: tuple[str, ...] = ()
    memory: Memory | None = None

    def bound(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of a call by name."""
        more = len(args) > len(self.parameters) or kwargs.keys() & set(self.native) - set(self.parameters)
        names = self.native if self.native and more else self.parameters
        return {**dict(zip(names, args, strict=False)), **kwargs}

    def positions_of(self, name: str, rank: int) -> int:
        """How many of the last axes are pooled or resized, for the function `name` and a tensor of `rank` axes."""
        if self.paths in (Paths.AVERAGE_POOL, Paths.MAX_POOL, Paths.ADAPTIVE_POOL):
            return window_axes(name) or 0
        return rank - 2 if self.paths is Paths.COMPOSED else 0  # interpolate: all but examples and channels

    @property
    def draws(self) -> bool:
        """Whether new random numbers are drawn at each call."""
        return self.paths in (Paths.RANDOM, Paths.RANDOM_LIKE)

    @property
    def moves(self) -> bool:
        """Whether elements are moved, repeated or left out, and nothing else."""
        return self.paths in (Paths.MOVES, Paths.MOVES_LIKE, Paths.STRIDED, Paths.LOOKUP)

    @property
    def reads(self) -> int | None:
        """How many operands, from the first, give elements; the others lend a shape, type or device. None: all."""
        return _READS.get(self.paths)

    @property
    def elementwise(self) -> bool:
        """Whether operands are combined element by element, apart from the statistics of norm layers."""
        return self.paths in _ELEMENTWISE


_ELEMENTWISE = frozenset([
    Paths.POINTWISE, Paths.SOFTMAX, Paths.DROPOUT, Paths.CAST, Paths.ALIAS, Paths.UNION, Paths.SUM, Paths.LERP,
    Paths.PRODUCT, Paths.QUOTIENT, Paths.BATCH_NORM, Paths.LAYER_NORM, Paths.RMS_NORM, Paths.GROUP_NORM,
])  # fmt: skip
_READS = {Paths.MOVES_LIKE: 1, Paths.CAST: 1, Paths.CREATION: 0, Paths.RANDOM_LIKE: 0, Paths.QUERY: 0}


def window_axes(name: str) -> int | None:
    """The number of last axes that a window covers, such as 2 for `max_pool2d`; None for other names."""
    found = re.search("([123])d(_|$)", name)
    return int(found[1]) if found else None
