"""The table of operations: what each does to paths, channels, synaptic flow and equivalent positions.

A row lists by name the torch functions that behave alike; `relu_` is found as relu, `__iadd__` as iadd, and a module as
the function that it calls. To add an operation, add its name to a row. A new member of `Paths` needs a rule in
`pruning/paths/`, a new member of `Channels` a case in `compaction/recognition.py`. What is in no row is unknown.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Any


class Paths(Enum):
    """What an operation does to paths from input to output."""

    MOVES = "moves, repeats or leaves out elements; new elements are 0"
    MOVES_LIKE = "moves the elements of the first operand; later operands only give a shape"
    LOOKUP = "reads elements at indices; where the input gives the indices, paths begin"
    POINTWISE = "a function of each element; the statistics that norms and softmax divide by carry no paths"
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
    BENDS = "is not linear on each side of 0"
    NORMALISES = "normalises: scaling its input does not scale its output"
    CURVES = "is not homogeneous of degree 1"
    MULTIPLIES = "multiplies values that all depend on the input"
    ADDS = "adds a constant"

    @property
    def depends_on_use(self) -> bool:
        """Whether only some uses break the laws; a product with a constant, for example, obeys them."""
        return self in (Law.MULTIPLIES, Law.ADDS)


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
            return int(name[-2])  # max_pool2d
        return rank - 2 if self.paths is Paths.COMPOSED else 0  # interpolate: all but examples and channels

    @property
    def moves(self) -> bool:
        """Whether elements are moved, repeated or left out, and nothing else."""
        return self.paths in (Paths.MOVES, Paths.MOVES_LIKE, Paths.LOOKUP)

    @property
    def reads(self) -> int | None:
        """How many operands, from the first, give elements; the others lend a shape, type or device. None: all."""
        return _READS.get(self.paths)

    @property
    def elementwise(self) -> bool:
        """Whether operands are combined element by element, apart from the statistics of norm layers."""
        return self.paths in _ELEMENTWISE


_ELEMENTWISE = frozenset([
    Paths.POINTWISE, Paths.DROPOUT, Paths.CAST, Paths.ALIAS, Paths.UNION, Paths.SUM, Paths.LERP, Paths.PRODUCT,
    Paths.QUOTIENT, Paths.BATCH_NORM, Paths.LAYER_NORM, Paths.RMS_NORM, Paths.GROUP_NORM,
])  # fmt: skip
_READS = {Paths.MOVES_LIKE: 1, Paths.CAST: 1, Paths.CREATION: 0, Paths.QUERY: 0}
_CONVOLUTION = tuple("input weight bias stride padding dilation groups".split())
_TRANSPOSED = tuple("input weight bias stride padding output_padding groups dilation".split())
_BATCH_NORM = tuple("input running_mean running_var weight bias training momentum eps".split())
_NATIVE_NORM = tuple("input weight bias running_mean running_var training momentum eps cudnn_enabled".split())
_LAYER_NORM = ("input", "normalized_shape", "weight", "bias")
_GROUP_NORM = ("input", "num_groups", "weight", "bias")
_MAX_POOL = tuple("input kernel_size stride padding dilation ceil_mode return_indices".split())
_AVG_POOL = tuple("input kernel_size stride padding ceil_mode".split())

P, C, L = Paths, Channels, Law
EACH, WINDOW, EXPOSES = Positions.EACH, Positions.WINDOW, Positions.EXPOSES
SAME, SHARED = Memory.SAME, Memory.SHARED
_ROWS: list[tuple[Operation, str]] = [
    # Moves of elements.
    (Operation(P.MOVES, memory=SHARED), """
        adjoint as_strided atleast_1d atleast_2d atleast_3d broadcast_to channel_shuffle chunk diag diagonal expand H mT
        moveaxis movedim narrow permute pixel_shuffle pixel_unshuffle ravel select split split_with_sizes swapaxes
        swapdims T t tensor_split transpose unbind unfold"""),
    (Operation(P.MOVES), """
        diag_embed flip fliplr flipud im2col repeat repeat_interleave roll rot90 take tile tril triu
        upsample_nearest1d upsample_nearest2d upsample_nearest3d
        upsample_nearest_exact1d upsample_nearest_exact2d upsample_nearest_exact3d"""),
    (Operation(P.MOVES, C.RESHAPE, memory=SHARED), "flatten unflatten view reshape squeeze unsqueeze"),
    (Operation(P.MOVES, C.PASSES, positions=EACH), "clone"),
    (Operation(P.MOVES, C.PASSES, positions=EACH, memory=SHARED), "contiguous"),
    (Operation(P.MOVES, C.PASSES, positions=EACH, memory=SAME), "identity"),
    (Operation(P.MOVES_LIKE, memory=SHARED), "expand_as reshape_as view_as"),
    (Operation(P.LOOKUP, memory=SHARED), "getitem"),
    (Operation(P.LOOKUP), "index_select"),
    (Operation(P.CAST, C.PASSES, memory=SHARED), """
        bfloat16 bool byte cpu cuda double float half int long short to type"""),
    (Operation(P.CAST, memory=SHARED), "type_as"),
    (Operation(P.ALIAS, memory=SHARED), "detach"),
    (Operation(P.ALIAS, positions=EXPOSES, memory=SHARED), "data"),
    (Operation(P.CONCAT, C.CONCAT, parameters=("tensors", "dim")), "cat concat concatenate"),
    (Operation(P.CONCAT), "stack"),
    (Operation(P.PAD, C.PAD, L.ADDS), "pad"),
    (Operation(P.PAD, law=L.ADDS), "constant_pad_nd"),
    (Operation(P.WHERE), "where"),
    (Operation(P.MASKED_FILL), "masked_fill"),
    (Operation(P.GATHER), "gather"),
    (Operation(P.INDEX_ADD), "index_add"),
    (Operation(P.SCATTER_ADD), "scatter_add"),
    (Operation(P.FOLD), "col2im"),
    (Operation(P.COPY), "copy fill"),
    (Operation(P.ZERO), "zero"),
    # Functions of one tensor, element by element.
    (Operation(P.POINTWISE, C.STOPS, positions=EACH), "relu"),
    (Operation(P.POINTWISE, C.STOPS, L.SATURATES, EACH), "relu6"),
    (Operation(P.POINTWISE, C.PASSES, positions=EACH), "leaky_relu"),
    (Operation(P.POINTWISE, C.PASSES), "abs absolute deg2rad neg negative positive rad2deg"),
    (Operation(P.POINTWISE, C.PASSES, L.BENDS, EACH), "elu gelu silu"),
    (Operation(P.POINTWISE, C.PASSES, L.BENDS), "celu hardswish mish selu"),
    (Operation(P.POINTWISE, C.LIFTS, L.BENDS), "softplus"),
    (Operation(P.POINTWISE, C.PASSES, L.SATURATES, EACH), "tanh"),
    (Operation(P.POINTWISE, C.PASSES, L.SATURATES), "atan erf softsign"),
    (Operation(P.POINTWISE, C.LIFTS, L.SATURATES, EACH), "sigmoid"),
    (Operation(P.POINTWISE, C.LIFTS, L.SATURATES), "erfc expit hardsigmoid log_sigmoid logsigmoid"),
    (Operation(P.POINTWISE, law=L.SATURATES, positions=EACH), "hardtanh"),
    (Operation(P.POINTWISE, law=L.SATURATES), "clamp clamp_max clamp_min clip"),
    (Operation(P.POINTWISE, C.PASSES, L.CURVES), """
        asin asinh expm1 hardshrink log1p sin sinh softshrink square tan tanhshrink"""),
    (Operation(P.POINTWISE, C.LIFTS, L.CURVES), "acos cos cosh exp exp2"),
    (Operation(P.POINTWISE, law=L.CURVES), """
        bitwise_not ceil digamma floor frac invert isfinite isinf isnan lgamma log log10 log2 logical_not logit
        reciprocal round rsqrt sgn sign sqrt trunc"""),
    (Operation(P.POINTWISE), "nan_to_num prelu rrelu threshold"),
    (Operation(P.POINTWISE, law=L.NORMALISES), """
        local_response_norm log_softmax normalize softmax softmin"""),
    (Operation(P.DROPOUT, C.PASSES, parameters=("input", "p", "training"), memory=SAME), """
        dropout dropout1d dropout2d dropout3d feature_dropout"""),
    (Operation(P.DROPOUT, C.PASSES, parameters=("input", "p", "mode", "training"), memory=SAME), "stochastic_depth"),
    (Operation(P.DROPOUT, parameters=("input", "p", "training"), memory=SAME), "alpha_dropout feature_alpha_dropout"),
    # Functions of several tensors, element by element.
    (Operation(P.SUM, C.SUM, L.ADDS, Positions.JOIN), "add radd iadd sub isub rsub subtract"),
    (Operation(P.PRODUCT, C.PRODUCT, L.MULTIPLIES, Positions.JOIN), "mul imul rmul multiply"),
    (Operation(P.QUOTIENT, C.QUOTIENT), """
        div divide floor_divide floordiv idiv ifloordiv itruediv true_divide truediv"""),
    (Operation(P.QUOTIENT), "rdiv rtruediv"),
    (Operation(P.UNION, law=L.CURVES), "float_power hypot logaddexp logaddexp2 pow ipow rpow"),
    (Operation(P.UNION), """
        and iand atan2 bitwise_and bitwise_or bitwise_xor eq fmax fmin fmod ge greater greater_equal gt ior ixor le
        less less_equal logical_and logical_or logical_xor lshift ilshift lt maximum minimum mod imod ne not_equal
        or remainder rshift irshift xor"""),
    (Operation(P.LERP), "lerp"),
    # Reductions and cumulations along dimensions.
    (Operation(P.REDUCTION, C.REDUCES, parameters=("dim", "keepdim")), "amax mean sum"),
    (Operation(P.REDUCTION, parameters=("dim", "keepdim")), """
        all amin any argmax argmin logsumexp nanmean nansum prod"""),
    (Operation(P.REDUCTION, parameters=("p", "dim", "keepdim")), "linalg_norm linalg_vector_norm norm vector_norm"),
    (Operation(P.REDUCTION, parameters=("dim", "unbiased", "keepdim")), "std var"),
    (Operation(P.MOMENTS, parameters=("dim", "unbiased", "keepdim")), "std_mean var_mean"),
    (Operation(P.EXTREME, parameters=("dim", "keepdim")), "max median min"),
    (Operation(P.CUMULATION, parameters=("dim",)), "cumprod cumsum logcumsumexp"),
    (Operation(P.CUMULATIVE_EXTREME, parameters=("dim",)), "cummax cummin"),
    # Pooling and interpolation.
    (Operation(P.AVERAGE_POOL, C.PASSES, None, WINDOW, _AVG_POOL), "avg_pool2d"),
    (Operation(P.AVERAGE_POOL, C.PASSES, parameters=_AVG_POOL), "avg_pool1d avg_pool3d"),
    (Operation(P.MAX_POOL, C.PASSES, None, WINDOW, _MAX_POOL), "max_pool2d"),
    (Operation(P.MAX_POOL, C.PASSES, parameters=_MAX_POOL), "max_pool1d max_pool3d"),
    (Operation(P.ADAPTIVE_POOL, C.PASSES), """
        adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d
        adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d"""),
    (Operation(P.COMPOSED, C.APART), """
        fractional_max_pool2d fractional_max_pool3d lp_pool1d lp_pool2d lp_pool3d
        max_unpool1d max_unpool2d max_unpool3d"""),
    (Operation(P.COMPOSED, C.PASSES), "interpolate upsample"),
    (Operation(P.WEIGHTED_SUM), """
        upsample_linear1d upsample_bilinear2d upsample_trilinear3d upsample_bicubic2d upsample_bilinear2d_aa
        upsample_bicubic2d_aa"""),
    # Layers.
    (Operation(P.LINEAR, C.LAYER, parameters=("input", "weight", "bias")), "linear"),
    (Operation(P.CONVOLUTION, C.LAYER, None, WINDOW, _CONVOLUTION), "conv2d"),
    (Operation(P.CONVOLUTION, C.LAYER, parameters=_CONVOLUTION), "conv1d conv3d"),
    (Operation(P.TRANSPOSED_CONVOLUTION, C.LAYER, parameters=_TRANSPOSED), """
        conv_transpose1d conv_transpose2d conv_transpose3d"""),
    (Operation(P.BATCH_NORM, C.BATCH_NORM, None, EACH, _BATCH_NORM, _NATIVE_NORM), "batch_norm"),
    (Operation(P.BATCH_NORM, law=L.NORMALISES, parameters=_BATCH_NORM, native=_NATIVE_NORM), "instance_norm"),
    (Operation(P.LAYER_NORM, law=L.NORMALISES, parameters=_LAYER_NORM), "layer_norm"),
    (Operation(P.RMS_NORM, law=L.NORMALISES, parameters=("input", "normalized_shape", "weight", "eps")), "rms_norm"),
    (Operation(P.GROUP_NORM, law=L.NORMALISES, parameters=_GROUP_NORM), "group_norm"),
    (Operation(P.ATTENTION, law=L.NORMALISES), "scaled_dot_product_attention"),
    (Operation(P.COMPOSED, law=L.NORMALISES), "multi_head_attention_forward"),
    (Operation(P.RECURRENT, law=L.SATURATES), "gru lstm rnn_relu rnn_tanh"),
    (Operation(P.RECURRENT_CELL, law=L.SATURATES), "gru_cell lstm_cell rnn_relu_cell rnn_tanh_cell"),
    (Operation(P.EMBEDDING), "embedding"),
    (Operation(P.ONE_HOT), "one_hot"),
    # Other products.
    (Operation(P.MATMUL, law=L.MULTIPLIES), "bmm dot matmul mm mv rmatmul"),
    (Operation(P.OUTER, law=L.MULTIPLIES), "outer"),
    (Operation(P.BILINEAR, law=L.MULTIPLIES), "bilinear"),
    (Operation(P.EINSUM, law=L.MULTIPLIES), "einsum"),
    (Operation(P.TENSORDOT, law=L.MULTIPLIES), "tensordot"),
    (Operation(P.MATMUL_ADDED, law=L.MULTIPLIES), "addmm addmv baddbmm"),
    (Operation(P.PRODUCT_ADDED, law=L.MULTIPLIES), "addcmul"),
    (Operation(P.GLU, law=L.MULTIPLIES), "glu"),
    # Operations whose results begin or carry no path.
    (Operation(P.RANDOM), """
        bernoulli cauchy exponential geometric log_normal multinomial normal poisson rand rand_like randint
        randint_like randn randn_like random randperm uniform"""),
    (Operation(P.CREATION), """
        empty_like full_like new new_empty new_full new_ones new_tensor new_zeros ones_like zeros_like"""),
    (Operation(P.QUERY, C.SIZES), "len nelement numel shape size stride"),
    (Operation(P.QUERY, C.FACT), "device dim dtype is_complex is_cuda is_floating_point ndim ndimension"),
    (Operation(P.QUERY), """
        element_size get_device grad grad_fn has_names is_contiguous is_cpu is_inference is_leaf is_meta
        is_mkldnn is_mps is_nested is_quantized is_same_size is_sparse is_xpu itemsize layout names nbytes
        requires_grad retains_grad storage_offset version"""),
    (Operation(P.QUERY, positions=EXPOSES), "data_ptr untyped_storage"),
    (Operation(P.ANSWER), "__bool__ __int__ __float__ __index__ __complex__ __contains__ equal item tolist"),
    (Operation(P.ANSWER, positions=EXPOSES), "numpy"),
    (Operation(P.HINT, memory=SAME), "_cudnn_rnn_flatten_weight detach_ requires_grad_ share_memory_"),
    (Operation(P.BORROWS, positions=EXPOSES), "as_tensor asarray from_dlpack from_numpy frombuffer"),
]  # fmt: skip

TABLE: dict[str, Operation] = {name: operation for operation, names in _ROWS for name in names.split()}

# Modules whose function has another name; most others, such as ReLU and MaxPool2d, match relu, max_pool2d and so on.
_MODULES = {
    "MultiheadAttention": "multi_head_attention_forward",
    "RNN": "rnn_tanh",
    "RNNCell": "rnn_tanh_cell",
    "Softmax2d": "softmax",
    "SyncBatchNorm": "batch_norm",
    "UpsamplingBilinear2d": "upsample",
    "UpsamplingNearest2d": "upsample",
}
for _axes in (1, 2, 3):
    _MODULES |= {f"BatchNorm{_axes}d": "batch_norm", f"InstanceNorm{_axes}d": "instance_norm"}
    _MODULES |= {f"{kind}Pad{_axes}d": "pad" for kind in "Zero Constant Reflection Replication Circular".split()}
_MODULES |= {name.replace("_", ""): name for name in TABLE}


def lookup(function: Callable[..., Any] | str) -> Operation | None:
    """The table's entry for a torch function or its name; None if there is none."""
    name = function if isinstance(function, str) else name_of(function)
    return TABLE.get(name) or TABLE.get(plain(name))


def name_of(function: Callable[..., Any]) -> str:
    """The name of a function, with its underscores; for reading an attribute, the attribute's name."""
    name = getattr(function, "__name__", str(function))
    return getattr(function, "__self__", function).__name__ if name == "__get__" else name


def written(
    function: Callable[..., Any] | str, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Iterator[Any]:
    """The arguments that a call writes to; `name` is Python's or torch's name, with underscores: relu_, __iadd__."""
    if kwargs.get("out") is not None:
        yield kwargs["out"]
    augmented = name.startswith("__i") and lookup(name[3:]) is not None  # __iadd__, not __invert__
    in_place = name == "__setitem__" or augmented or (name.endswith("_") and not name.endswith("__"))
    position = _position_of_inplace(function)
    if in_place or kwargs.get("inplace", args[position] if 0 <= position < len(args) else False) is True:
        yield args[0] if args else kwargs.get("input")


@cache
def _position_of_inplace(function: Callable[..., Any] | str) -> int:
    """The position of the argument `inplace` in a function's signature; -1 if it has none."""
    try:
        names = list(inspect.signature(function).parameters)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return -1
    return names.index("inplace") if "inplace" in names else -1


def window_axes(name: str) -> int | None:
    """The number of last axes that a window covers, such as 2 for `max_pool2d`; None for other names."""
    return int(name[-2]) if name[-2:] in ("1d", "2d", "3d") else None


def plain(name: str) -> str:
    """The name as it is written in the table: without underscores at its ends."""
    return name.strip("_")


def of_module(kind: type) -> str:
    """The name of the function that modules of this class call; the name of the class if the table has none."""
    for base in kind.__mro__:
        if base.__module__.startswith("torch.nn."):
            name = _MODULES.get(base.__name__) or _MODULES.get(base.__name__.lower())
            if name is not None:
                return name
    return kind.__name__
