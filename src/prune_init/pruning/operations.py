"""The table of operations: what each does to paths, channels, synaptic flow and equivalent positions.

A row lists by name the torch functions that behave alike; `relu_` is found as relu, `__iadd__` as iadd, and a module as
the function that it calls. What is in no row is unknown. To add an operation, add its name to a row. Its columns are
those of `behaviour.py`: a new member of `Paths` needs a rule in `pruning/paths/`, a new member of `Channels` a case in
`compaction/recognition.py`.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from prune_init.pruning.behaviour import Channels, Law, Memory, Operation, Paths, Positions

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
        adjoint atleast_1d atleast_2d atleast_3d broadcast_to channel_shuffle chunk diag diagonal expand H mT
        moveaxis movedim narrow permute pixel_shuffle pixel_unshuffle ravel select split split_with_sizes swapaxes
        swapdims T t tensor_split transpose unbind unfold"""),
    (Operation(P.STRIDED, memory=SHARED), "as_strided"),
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
    (Operation(P.ALIAS, C.PASSES, memory=SHARED), "detach"),
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
    (Operation(P.POINTWISE, law=L.LIMITS, positions=EACH), "hardtanh"),
    (Operation(P.POINTWISE, law=L.LIMITS), "clamp clamp_max clamp_min clip"),
    (Operation(P.POINTWISE, C.PASSES, L.CURVES), """
        asin asinh expm1 hardshrink log1p sin sinh softshrink square tan tanhshrink"""),
    (Operation(P.POINTWISE, C.LIFTS, L.CURVES), "acos cos cosh exp exp2"),
    (Operation(P.POINTWISE, law=L.CURVES), """
        bitwise_not ceil digamma floor frac invert isfinite isinf isnan lgamma log log10 log2 logical_not logit
        reciprocal round rsqrt sgn sign sqrt trunc"""),
    (Operation(P.POINTWISE), "nan_to_num prelu rrelu threshold"),
    (Operation(P.POINTWISE, law=L.NORMALISES), "local_response_norm normalize"),
    (Operation(P.SOFTMAX, law=L.NORMALISES), "log_softmax softmax softmin"),
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
    (Operation(P.RECURRENT, law=L.SATURATES), "gru lstm rnn_tanh"),
    (Operation(P.RECURRENT, law=L.ADDS), "rnn_relu"),
    (Operation(P.RECURRENT_CELL, law=L.SATURATES), "gru_cell lstm_cell rnn_tanh_cell"),
    (Operation(P.RECURRENT_CELL, law=L.ADDS), "rnn_relu_cell"),
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
        bernoulli cauchy exponential geometric log_normal multinomial normal poisson rand randint randn random
        randperm uniform"""),
    (Operation(P.RANDOM_LIKE), "rand_like randint_like randn_like"),
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


def named_arguments(
    function: Callable[..., Any] | str, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """The arguments of a call by name; of an operation that the table does not know only those given by name."""
    operation = lookup(function)
    return operation.bound(args, kwargs) if operation else dict(kwargs)


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
