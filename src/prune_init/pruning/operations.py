"""The table of operations: what each function of torch does, by its plain name, to those who follow a net.

Names are those of torch without underscores around them: `relu_` and `__iadd__` stand in the rows of relu and iadd.
"""

from enum import Enum


class Paths(Enum):
    """What an operation does to paths."""

    MOVES = "elements change places only; new places are 0"
    POINTWISE = "element by element; so are norms and softmax, as the statistics that they divide by are no paths"
    UNION = "each element of the result depends on one element of each operand"
    PRODUCT = "the same, and the result is 0 where an operand is"
    QUOTIENT = "the same, and the result is 0 where the first operand is"
    REDUCTION = "each element of the result depends on all elements along some dimensions"
    CAST = "changes the type of numbers at most"
    RANDOM = "drawn anew at each call"
    CREATION = "a constant; a tensor on a path gives its shape and type at most"
    QUERY = "no tensor"


_ROWS = {
    Paths.MOVES: """
        adjoint as_strided atleast_1d atleast_2d atleast_3d broadcast_to channel_shuffle chunk clone contiguous diag
        diag_embed diagonal expand expand_as flatten flip fliplr flipud getitem H im2col index_select mT moveaxis
        movedim narrow permute pixel_shuffle pixel_unshuffle ravel repeat repeat_interleave reshape reshape_as roll
        rot90 select split split_with_sizes squeeze swapaxes swapdims T t take tensor_split tile transpose tril triu
        unbind unflatten unfold unsqueeze view view_as
        upsample_nearest1d upsample_nearest2d upsample_nearest3d
        upsample_nearest_exact1d upsample_nearest_exact2d upsample_nearest_exact3d""",
    Paths.POINTWISE: """
        abs absolute acos alpha_dropout asin asinh atan bitwise_not ceil celu clamp clamp_max clamp_min clip cos cosh
        deg2rad digamma dropout dropout1d dropout2d dropout3d elu erf erfc exp exp2 expit expm1 feature_alpha_dropout
        feature_dropout floor frac gelu hardshrink hardsigmoid hardswish hardtanh invert isfinite isinf isnan
        leaky_relu lgamma local_response_norm log log10 log1p log2 log_sigmoid log_softmax logical_not logit logsigmoid
        mish nan_to_num neg negative normalize positive prelu rad2deg reciprocal relu relu6 round rrelu rsqrt selu
        sgn sigmoid sign silu sin sinh softmax softmin softplus softshrink softsign sqrt square tan tanh tanhshrink
        threshold trunc""",
    Paths.UNION: """
        add radd iadd and iand atan2 bitwise_and bitwise_or bitwise_xor eq float_power fmax fmin fmod ge greater
        greater_equal gt hypot ior ixor le lerp less less_equal logaddexp logaddexp2 logical_and logical_or logical_xor
        lt maximum minimum ne not_equal or pow ipow remainder rpow sub isub rsub subtract xor""",
    Paths.PRODUCT: "mul imul rmul multiply",
    Paths.QUOTIENT: "div divide floor_divide floordiv itruediv rdiv rtruediv true_divide truediv",
    Paths.REDUCTION: """
        all amax amin any argmax argmin cummax cummin cumprod cumsum linalg_norm linalg_vector_norm logcumsumexp
        logsumexp max mean median min nanmean nansum norm prod std sum var std_mean var_mean vector_norm""",
    Paths.CAST: "bfloat16 bool byte cpu cuda double float half int long short to type type_as",
    Paths.RANDOM: """
        bernoulli cauchy exponential geometric log_normal multinomial normal poisson rand rand_like randint
        randint_like randn randn_like random randperm uniform""",
    Paths.CREATION: """
        empty_like full_like new new_empty new_full new_ones new_tensor new_zeros ones_like zeros_like""",
    Paths.QUERY: """
        data_ptr device dim dtype element_size get_device grad grad_fn has_names is_complex
        is_contiguous is_cpu is_cuda is_floating_point is_inference is_leaf is_meta is_mkldnn is_mps is_nested
        is_quantized is_same_size is_sparse is_xpu itemsize layout len names nbytes ndim ndimension nelement numel
        requires_grad retains_grad shape size storage_offset stride untyped_storage version""",
}

PATHS: dict[str, Paths] = {name: effect for effect, names in _ROWS.items() for name in names.split()}
