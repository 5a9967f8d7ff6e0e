"""Every operation in the table, in all code that reads it: paths, compaction, conservation laws, equivalence."""

import operator

import pytest
import torch
import torchvision
from gradient_paths import by_gradient, random_masks
from torch import nn
from torch.nn import functional as F

import prune_init
from prune_init.pruning.behaviour import Channels, Law, Paths, Positions
from prune_init.pruning.engine import equivalence
from prune_init.pruning.engine.calls import LiveCalls
from prune_init.pruning.operations import _ROWS, TABLE
from prune_init.pruning.paths.effective_weights import effective_weights

INDEX = torch.tensor([2, 2, 0, 1])
EVERYWHERE = INDEX[None, :, None, None].expand(2, 4, 4, 4)
ONES, CUBE = torch.ones(4, dtype=torch.float64), torch.ones(3, 4, 4, dtype=torch.float64)
SOME = torch.tensor([True, False, True, False])
# Arguments after the features. These are (2, 4, 4, 4), or have the number of dimensions in the operation's name.
ARGUMENTS = {
    "as_strided": ((4, 9), (1, 4)), "broadcast_to": ((3, 2, 4, 4, 4),), "channel_shuffle": (2,), "chunk": (2, 1),
    "diagonal": (0, 1, 2), "expand": (3, 2, 4, 4, 4), "flip": ((1,),), "im2col": ((2, 2), (1, 1), (0, 0), (1, 1)),
    "moveaxis": (1, 3), "movedim": (1, 3), "narrow": (1, 1, 2), "permute": ((0, 2, 1, 3),), "pixel_shuffle": (2,),
    "pixel_unshuffle": (2,), "repeat": (1, 2, 1, 1), "repeat_interleave": (2, 1), "roll": (1, 2), "rot90": (1, (2, 3)),
    "select": (1, 2), "split": (3, 1), "split_with_sizes": ([1, 3], 1), "swapaxes": (1, 2), "swapdims": (1, 2),
    "take": (INDEX,), "tensor_split": (2, 1), "tile": ((1, 2, 1, 1),), "transpose": (1, 2), "unbind": (1,),
    "unfold": (2, 2, 1), "flatten": (1,), "view": (2, -1), "reshape": ((2, -1),),
     "getitem": ((slice(None), slice(1, 3)),), "index_select": (1, INDEX),
    "gather": (1, EVERYWHERE), "index_add": (1, INDEX, torch.ones(2, 4, 4, 4, dtype=torch.float64)),
    "scatter_add": (1, EVERYWHERE, torch.ones(2, 4, 4, 4, dtype=torch.float64)),
    "pad": ((1, 0, 2, 1),), "constant_pad_nd": ((1, 0, 2, 1),), "masked_fill": (SOME, 0.0), "fill": (1.0,),
    "type": (torch.float64,), "type_as": (ONES,), "to": (torch.float64,),
    "threshold": (-9.0, 0.0), "prelu": (ONES,),
    **dict.fromkeys(("clamp", "clip", "hardtanh"), (-9.0, 9.0)), "clamp_max": (9.0,), "clamp_min": (-9.0,),
    "local_response_norm": (2,), **dict.fromkeys(("log_softmax", "softmax", "softmin", "glu"), (1,)),
    "layer_norm": ((4,),), "rms_norm": ((4,),), "group_norm": (2,), "batch_norm": (0 * ONES, ONES),
    "feature_dropout": (0.5, False), "feature_alpha_dropout": (0.5, False), "stochastic_depth": (0.0, "row"),
    **dict.fromkeys(("interpolate", "upsample"), ((3, 5),)), **{f"lp_pool{d}d": (2, 2) for d in (1, 2, 3)},
    **{f"upsample_nearest{exact}{d}d": ((7, 5, 3)[:d], None) for exact in ("", "_exact") for d in (1, 2, 3)},
    "upsample_linear1d": ((7,), False, None), "upsample_trilinear3d": ((7, 5, 3), False, None),
    **{f"upsample_{how}2d{aa}": ((3, 5), False, None) for how in ("bilinear", "bicubic") for aa in ("", "_aa")},
    **{f"conv{d}d": (torch.ones(2, 4, *[2] * d, dtype=torch.float64),) for d in (1, 2, 3)},
    **{f"conv_transpose{d}d": (torch.ones(4, 2, *[2] * d, dtype=torch.float64),) for d in (1, 2, 3)},
    "linear": (torch.ones(3, 4, dtype=torch.float64),),
}  # fmt: skip
BY_KIND = {
    **{kind: {"dim": -1} for kind in (Paths.REDUCTION, Paths.EXTREME, Paths.MOMENTS)},
    **{kind: {"dim": 1} for kind in (Paths.CUMULATION, Paths.CUMULATIVE_EXTREME)},
    **{kind: {"kernel_size": 2} for kind in (Paths.AVERAGE_POOL, Paths.MAX_POOL)},
    Paths.ADAPTIVE_POOL: {"output_size": 3}, Paths.DROPOUT: {"training": False},
}  # fmt: skip
TWO = {Paths.UNION, Paths.SUM, Paths.PRODUCT, Paths.QUOTIENT, Paths.MOVES_LIKE}
CALLS = {
    Paths.CONCAT: lambda f, y, z: f([y, z], 1), Paths.WHERE: lambda f, y, z: f(SOME, y, z),
    "lerp": lambda f, y, z: f(y, z, 0.3), "copy": lambda f, y, z: f(torch.zeros_like(y), z),
    "zero": lambda f, y, z: f(y * 1) + z, "fill": lambda f, y, z: f(y * 1, 1.0) + z, "t": lambda f, y, z: f(y[0, 0]),
    **dict.fromkeys("mT", lambda f, y, z: f(y)), **dict.fromkeys("TH", lambda f, y, z: f(y[0, 0])),
    "squeeze": lambda f, y, z: f(F.adaptive_avg_pool2d(y, 1), -1),
    "unsqueeze": lambda f, y, z: f(F.adaptive_avg_pool2d(y, 1).flatten(1), 2),
    "unflatten": lambda f, y, z: f(F.adaptive_avg_pool2d(y, 1).flatten(1), 1, (4, 1)),
    "diag": lambda f, y, z: f(y[0, 0]),
    "matmul": lambda f, y, z: f(y, z), "rmatmul": lambda f, y, z: f(y, z),
    "bmm": lambda f, y, z: f(y[0], z[0]), "mm": lambda f, y, z: f(y[0, 0], z[0, 0]),
    "mv": lambda f, y, z: f(y[0, 0], z[0, 0, 0]), "dot": lambda f, y, z: f(y[0, 0, 0], z[0, 0, 0]),
    "outer": lambda f, y, z: f(y[0, 0, 0], z[0, 0, 0]), "tensordot": lambda f, y, z: f(y[0], z[0], 1),
    "col2im": lambda f, y, z: f(y.flatten(2), (5, 5), (2, 2), (1, 1), (0, 0), (1, 1)),
    "einsum": lambda f, y, z: f("abcd,adce->abe", y, z), "addcmul": lambda f, y, z: f(y, y, z),
    "bilinear": lambda f, y, z: f(y, z, CUBE), "baddbmm": lambda f, y, z: f(y[0], y[0], z[0]),
    "addmm": lambda f, y, z: f(y[0, 0], y[0, 0], z[0, 0]), "addmv": lambda f, y, z: f(y[0, 0, 0], y[0, 0], z[0, 0, 0]),
}  # fmt: skip
# For operations whose gradient can be 0 on a path: replacements with the same paths and without such zeros.
SAME_PATHS = {
    **dict.fromkeys((Paths.UNION, Paths.SUM, Paths.LERP), lambda y, z: y + z), Paths.QUOTIENT: lambda y, z: y / z,
    **dict.fromkeys((Paths.POINTWISE, Paths.DROPOUT, Paths.CAST, Paths.ALIAS), lambda y, z: y),
    **dict.fromkeys((Paths.BATCH_NORM, Paths.LAYER_NORM, Paths.RMS_NORM, Paths.GROUP_NORM), lambda y, z: y),
    **dict.fromkeys((Paths.REDUCTION, Paths.EXTREME, Paths.MOMENTS), lambda y, z: y.sum(-1)),
    **dict.fromkeys((Paths.CUMULATION, Paths.CUMULATIVE_EXTREME), lambda y, z: y.cumsum(1)),
    Paths.MAX_POOL: lambda y, z: getattr(F, f"avg_pool{y.ndim - 2}d")(y, 2),
    Paths.ADAPTIVE_POOL: lambda y, z: getattr(F, f"adaptive_avg_pool{y.ndim - 2}d")(y, 3),
    Paths.GLU: lambda y, z: y[:, :2] + y[:, 2:],
}  # fmt: skip
NO_FUNCTION_OF_ELEMENTS = (
    Paths.RANDOM,
    Paths.RANDOM_LIKE,
    Paths.CREATION,
    Paths.QUERY,
    Paths.ANSWER,
    Paths.HINT,
    Paths.BORROWS,
)
# These need arguments of their own, and are checked in test_paths_real_nets.py.
IN_REAL_NETS = (Paths.RECURRENT, Paths.RECURRENT_CELL, Paths.ATTENTION, Paths.EMBEDDING, Paths.ONE_HOT)
# Names without a call of their own, or with none that differs from another row's.
NOT_CALLED = """
    multi_head_attention_forward fractional_max_pool2d fractional_max_pool3d max_unpool1d max_unpool2d max_unpool3d
    invert bitwise_not bitwise_and bitwise_or bitwise_xor and iand or ior xor ixor lshift ilshift rshift irshift
    identity expit rrelu rdiv idiv rtruediv floor_divide floordiv ifloordiv alpha_dropout feature_alpha_dropout cuda
    bool byte int long short""".split()


def function_of(name):
    """The torch function, method or attribute of this name in the table."""
    native = [(torch._C._nn, name), (torch._C._nn, f"_{name}")]
    homes = [*((home, name) for home in (F, torch, torchvision.ops, operator)), (operator, f"{name}_")]
    homes += [(torch.linalg, name.removeprefix("linalg_")), *native]
    homes += [(torch.Tensor, key) for key in (name, f"__{name}__", f"{name}_")]
    for home, key in native if name.startswith("upsample_") else homes:
        found = getattr(home, key, None)
        if home is torch.Tensor and found is not None:  # a method or an attribute, also of a proxy
            return lambda y, *rest, key=key: (
                getattr(y, key)(*rest) if callable(getattr(torch.Tensor, key)) else getattr(y, key)
            )
        if callable(found) and not isinstance(found, torch.dtype):
            return found
    return None


def applied(name, y, z):
    """The operation applied to features y, and to features z as well if it takes two operands."""
    kind, function = TABLE[name].paths, function_of(name)
    call = CALLS.get(name) or CALLS.get(kind)
    if call is not None:
        return call(function, y, z)
    rest = ARGUMENTS.get(name, ())
    named = {} if name in ARGUMENTS and kind is Paths.DROPOUT and name != "stochastic_depth" else BY_KIND.get(kind, {})
    return function(y, *([z] if kind in TWO else []), *rest, **named)


class Net(nn.Module):
    """Two convolutions give features, to which the operation is applied; an optional linear layer follows."""

    def __init__(self, name, function=None, head=False, bias=False):
        super().__init__()
        self.name, self.function, self.head, self.has_head = name, function, None, head
        axes = int(name[-2]) if name[-2:] in ("1d", "3d") else 2
        self.x = torch.rand(2, 2, *[4] * axes, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        torch.manual_seed(0)
        convolution = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[axes - 1]
        self.one, self.two = (convolution(2, 4, 3, padding=1, bias=bias).double() for _ in range(2))
        for layer in (self.one, self.two):
            layer.weight.data.abs_().div_(9)  # into the domain of asin
        y = self(self.x)
        self.several = isinstance(y, tuple | list)
        if head:
            self.head = nn.Linear((y[0] if self.several else y).flatten(1).shape[1], 3).double()

    def forward(self, x):
        y, z = self.one(x), self.two(x)
        if self.has_head and TABLE[self.name].paths is Paths.QUOTIENT:
            z = 3.0
        y = applied(self.name, y, z) if self.function is None else self.function(y, z)
        if self.head is None:
            return y
        return self.head((y[0] if self.several else y).flatten(1).double())


CALLED = [
    name
    for name, row in TABLE.items()
    if row.paths not in (*NO_FUNCTION_OF_ELEMENTS, *IN_REAL_NETS) and name not in NOT_CALLED
]
NO_BATCH = ("addmv", "diag", "dot", "mv", "ravel", "take")
"""Operations whose result is not a batch of features, so that no linear layer can follow."""
BATCHES = [name for name in CALLED if name not in NO_BATCH]
LAYERS = (Channels.LAYER, Channels.BATCH_NORM)


def test_a_name_stands_in_one_row():
    names = [name for _, names in _ROWS for name in names.split()]
    assert len(names) == len(set(names)) == len(TABLE)


@pytest.mark.parametrize("name", CALLED)
def test_paths_are_those_of_the_gradient(name):
    """Element by element, for a few taps of each kernel and, if the result is a batch, a few elements of it."""
    head = name not in NO_BATCH
    net = Net(name, head=head, bias=True)
    function = SAME_PATHS.get(TABLE[name].paths)
    judge = net if function is None else Net(name, function, head, bias=True)
    for density in (0.5, 0.25):
        masks = random_masks(net, density, 1)
        found, expected = effective_weights(net, masks, net.x), by_gradient(judge, masks, net.x)
        assert all(torch.equal(found[n], expected[n]) for n in masks)
        assert any(mask.any() for mask in found.values())


@pytest.mark.parametrize(
    "name", [name for name in CALLED if TABLE[name].channels not in (None, Channels.APART, *LAYERS)]
)
def test_compaction_understands_what_has_channels(name):
    net = Net(name, head=True).eval()
    for layer in (net.one, net.two):
        layer.weight.data[1] = 0
    small = prune_init.compact(net, net.x)
    assert not any("no rule" in why for why in small.compaction.left_alone.values())
    outputs = [model(net.x) for model in (net, small)]
    torch.testing.assert_close(outputs[1], outputs[0], equal_nan=True)
    gradients = [
        torch.autograd.grad(y.nan_to_num().sum(), m.get_parameter("head.weight"))[0]
        for y, m in zip(outputs, (net, small), strict=True)
    ]
    torch.testing.assert_close(gradients[1], gradients[0][small.compaction.index["head.weight"] or ...], equal_nan=True)
    if TABLE[name].channels in (Channels.STOPS, Channels.PASSES):
        assert small.get_parameter("one.weight").shape[0] == 3


@pytest.mark.parametrize("name", ["sort", *(name for name in BATCHES if TABLE[name].channels is None)])
def test_compaction_names_what_it_leaves_alone(name):
    net = Net(name, head=True).eval() if name in TABLE else Net("relu", lambda y, z: y.sort(1)[0], head=True)
    net.one.weight.data[1] = 0
    with pytest.warns(UserWarning, match=f"not shrink them: .*({name}|{name[1:]})"):
        small = prune_init.compact(net, net.x)
    torch.testing.assert_close(small(net.x), net(net.x), equal_nan=True)


@pytest.mark.parametrize("name", [name for name in BATCHES if TABLE[name].channels not in LAYERS])
def test_conservation_laws_hold_or_the_operation_is_named(name):
    net = Net(name, head=True).eval()
    x = net.x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(net(x).sum(), x, allow_unused=True)
    if slope is None and TABLE[name].paths is not Paths.ALIAS:  # truth values and whole numbers
        with pytest.raises(prune_init.InputError, match="its output does not depend on the input differentiably"):
            prune_init.conservation(net, net.x)
        return
    law, result = TABLE[name].law, prune_init.conservation(net, net.x)
    assert result.holds(1e-5 if TABLE[name].paths is Paths.CAST else 1e-9) or result.broken
    assert all((law or Law.CURVES).value in why for why in result.broken.values())
    unlike = (Paths.CAST, Paths.ALIAS)  # casts round, and detach has no derivative
    if law is None and TABLE[name].channels is not None and TABLE[name].paths not in unlike:
        assert not result.broken


@pytest.mark.parametrize("name", CALLED)
def test_equivalent_positions_hold_equal_numbers(name):
    if name[-2:] in ("1d", "3d"):
        return
    draw = torch.Generator().manual_seed(0)
    x = equivalence.uniform(torch.ones(2, 2, 4, 4, dtype=torch.float64))
    with LiveCalls({}, {}):
        kernels = torch.rand(2, 4, 2, 3, 3, generator=draw, dtype=torch.float64)
        result = applied(name, *(F.conv2d(x, kernel, padding=1) for kernel in kernels))
    classes = equivalence.of(result) if isinstance(result, torch.Tensor) else None
    assert classes is not None or TABLE[name].positions in (None, Positions.EXPOSES)
    if classes is not None:
        rows, columns = ([line.index(one) for one in line] for line in classes)
        torch.testing.assert_close(result[:, :, rows][..., columns], result)
