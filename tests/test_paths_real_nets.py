"""Paths through realistic code: factors that are not pruned, in-place writes, recurrent layers, structures."""

import io
import itertools
import operator
import warnings

import pytest
import torch
import torchvision
from gradient_paths import by_gradient, random_masks
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune

import prune_init
from prune_init.compaction.export import save_program
from prune_init.pruning.paths.effective_weights import UnsupportedOperationError, effective_weights
from prune_init.pruning.weights import prunable


def check(model, x, densities=(1.0, 0.5, 0.25), seeds=range(3)):
    """Check that both methods agree for masks of several densities; return the number of weights on a path for each."""
    counts = []
    for density in densities:
        for seed in seeds:
            masks = random_masks(model, density, seed)
            found, expected = effective_weights(model, masks, x), by_gradient(model, masks, x)
            for name in masks:
                assert torch.equal(found[name], expected[name]), (name, density, seed)
            counts.append(sum(int(m.sum()) for m in found.values()))
    return counts


class Net(nn.Module):
    """Two layers with something in between, given as a function of the net and the features."""

    def __init__(self, between, width=6, **parts):
        super().__init__()
        self.first, self.last = nn.Linear(5, 6), nn.Linear(width, 3)
        for name, part in parts.items():
            if isinstance(part, torch.Tensor) and not isinstance(part, nn.Parameter):
                self.register_buffer(name, part)
            else:
                setattr(self, name, part)
        self.between = between

    def forward(self, x):
        return self.last(self.between(self, 1 * F.relu(self.first(x))))


def sparse(*shape, seed=3):
    draw = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=draw) * (torch.rand(shape, generator=draw) < 0.4)


X = torch.ones(2, 5)
FACTORS = {
    "matmul": lambda n, y: y @ n.m,
    "linear": lambda n, y: F.linear(y, n.m.t(), torch.ones(4, dtype=y.dtype)),
    "einsum": lambda n, y: torch.einsum("bi,io->bo", y, n.m),
    "addmm": lambda n, y: torch.addmm(torch.ones(4, dtype=y.dtype), y, n.m),
    "sum of products": lambda n, y: (y[:, :, None] * n.m).sum(1),
}


@pytest.mark.parametrize("name", FACTORS)
@pytest.mark.parametrize("kind", ["parameter", "buffer"])
def test_a_matrix_that_is_not_pruned_carries_paths(name, kind):
    matrix = nn.Parameter(sparse(6, 4) + 0.1) if kind == "parameter" else sparse(6, 4)
    counts = check(Net(FACTORS[name], width=4, m=matrix), X)
    assert counts[0] == 30 + 12 if kind == "parameter" else 0 < counts[0] <= 42
    assert 0 < max(counts[-3:]) < counts[0]


GATES = {
    "mask": lambda n, y: y * n.v,
    "mask in place": lambda n, y: y.mul_(n.v),
    "divisor": lambda n, y: y / (1 + n.v),
    "where": lambda n, y: torch.where(n.v > 0, y, 7.0),
    "masked_fill": lambda n, y: y.masked_fill(n.v == 0, float("-inf")).exp(),
    "addcmul": lambda n, y: torch.addcmul(n.v, y, n.v),
    "bilinear": lambda n, y: F.bilinear(y, n.v.expand_as(y), torch.ones(6, 6, 6, dtype=y.dtype)),
    "added": lambda n, y: y + n.v,
    "concatenated": lambda n, y: torch.cat([y[:, :3], n.v[:3].expand(len(y), 3)], 1),
    "maximum": lambda n, y: torch.maximum(y, n.v - 9),
    "padded": lambda n, y: F.pad(y[:, :4], (1, 1), value=1.0),
    "python zero": lambda n, y: torch.stack([y[:, i] * i for i in range(6)], 1),
    "std": lambda n, y: y - y.std(1, keepdim=True),
    "reciprocal": lambda n, y: 1 / (1 + y) + torch.rsqrt(1 + y) + 2**y,
}


@pytest.mark.parametrize("name", GATES)
def test_a_buffer_carries_paths_where_it_is_not_0_and_only_as_a_factor(name):
    counts = check(Net(GATES[name], v=torch.tensor([0.0, 0.5, 0.0, 2.0, 0.3, 0.0])), X)
    assert 0 < max(counts[-3:]) < counts[0]


def test_a_gate_of_zeros_cuts_and_a_parameter_that_is_0_does_not():
    gate = lambda n, y: y * n.gate  # noqa: E731
    assert prune_init.connectivity(Net(gate, gate=torch.zeros(6)), X).connected is False
    assert prune_init.connectivity(Net(gate, gate=nn.Parameter(torch.zeros(6))), X).effective_sparsity == 0
    assert prune_init.connectivity(Net(gate, gate=nn.Parameter(torch.zeros(6), False)), X).connected is False
    rezero = Net(lambda n, y: y * (1 - n.one), one=nn.Parameter(torch.ones(6)))
    assert prune_init.connectivity(rezero, X).effective_sparsity == 0
    frozen = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Conv2d(2, 1, 1))
    frozen[1].weight = nn.Parameter(torch.tensor([0.0, 1.0]), requires_grad=False)
    assert [row.effective for row in prune_init.connectivity(frozen, torch.ones(1, 1, 2, 2)).layers] == [1, 1]
    nn.init.zeros_(frozen[1].requires_grad_().weight)
    assert [row.effective for row in prune_init.connectivity(frozen, torch.ones(1, 1, 2, 2)).layers] == [2, 2]


def test_paths_lead_through_what_is_computed_without_gradients():
    def frozen(net, y):
        with torch.no_grad():
            y = torch.cat([(y * net.v)[:, :3], torch.zeros(len(y), 3)], 1)
            y[:, 0] += 1
        return y

    found = prune_init.connectivity(Net(frozen, v=torch.tensor([1.0, 1, 0, 1, 1, 1])), X)
    assert [row.effective for row in found.layers] == [10, 6]
    assert [row.effective for row in prune_init.connectivity(Net(lambda n, y: y.detach()), X).layers] == [30, 18]


NORMED = {
    "weight_norm": nn.utils.weight_norm,
    "parametrised weight_norm": parametrizations.weight_norm,
    "spectral_norm": nn.utils.spectral_norm,
    "parametrised spectral_norm": parametrizations.spectral_norm,
    "orthogonal": parametrizations.orthogonal,
    "cayley": lambda layer: parametrizations.orthogonal(layer, orthogonal_map="cayley"),
}


def normed(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nn.Sequential(nn.Linear(8, 6), nn.ReLU(), NORMED[name](nn.Linear(6, 6)), nn.ReLU(), nn.Linear(6, 4))


@pytest.mark.parametrize("mode", [True, False])
@pytest.mark.parametrize("name", NORMED)
def test_weights_made_of_other_parameters_carry_paths_and_are_left_as_they_are(name, mode):
    torch.manual_seed(0)
    model = normed(name).train(mode)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    attributes = {m: dict(m.__dict__) for m in model.modules()}
    masks = {"0.weight": torch.zeros(6, 8, dtype=torch.bool), "4.weight": torch.ones(4, 6, dtype=torch.bool)}
    masks["0.weight"][2, 5] = True
    found = effective_weights(model, masks, torch.ones(2, 8))
    assert found["0.weight"].sum() == 1 and found["4.weight"].all()
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    for module, kept in attributes.items():
        assert all(module.__dict__[key] is value for key, value in kept.items())


def test_masks_of_torchs_own_pruning_are_masks():
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.ReLU(), nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 2))
    prune.custom_from_mask(model[2], "weight", torch.tensor([[1.0, 0, 0], [0, 0, 0], [0, 0, 0]]))
    masked = model[2].weight
    found = prune_init.connectivity(model, torch.ones(1, 3))
    assert [row.effective for row in found.layers] == [3, 2]
    assert model[2].weight is masked


class LoRA(nn.Linear):
    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.down, self.up = nn.Parameter(torch.rand(2, sizes[0])), nn.Parameter(torch.zeros(sizes[1], 2))

    def forward(self, x):
        return F.linear(x, self.weight + self.up @ self.down, self.bias)


def test_what_is_added_to_a_pruned_weight_makes_it_dense():
    model = nn.Sequential(nn.Linear(4, 3), LoRA(3, 3), nn.Linear(3, 2))
    masks = {n: torch.ones_like(w, dtype=torch.bool) for n, w in prunable(model).items()}
    masks["1.weight"][:] = False
    found = effective_weights(model, masks, torch.ones(1, 4))
    assert [int(m.sum()) for m in found.values()] == [12, 0, 6]


class Made(nn.Linear):
    """A layer whose weight is computed from the pruned parameter."""

    def __init__(self, function):
        super().__init__(5, 4)
        self.function = function

    def forward(self, x):
        return F.linear(x, self.function(self.weight), self.bias)


MADE = {
    "square": lambda w: w**2,
    "scaled": lambda w: 3 * w / 7,
    "over its norm": lambda w: w / w.detach().norm(),
    "masked": lambda w: w * (torch.arange(5) < 3),
    "thresholded": lambda w: w * (w.abs() > 1e-9),
    "softplus": F.softplus,
    "shifted": lambda w: w + 1,
    "transposed twice": lambda w: w.t().contiguous().t(),
    "written": lambda w: torch.zeros(4, 5, dtype=w.dtype).copy_(w),
    "half written": lambda w: torch.cat([w[:, :2], torch.ones(4, 3, dtype=w.dtype)], 1),
    "product": lambda w: w @ torch.eye(5, dtype=w.dtype).flip(0),
}


@pytest.mark.parametrize("name", MADE)
def test_weights_computed_from_pruned_ones(name):
    counts = check(nn.Sequential(nn.Linear(3, 5), Made(MADE[name]), nn.ReLU(), nn.Linear(4, 2)), torch.ones(1, 3))
    assert 0 < max(counts[-3:]) < counts[0]


def test_standardised_weights_leave_paths_unknown():
    std = pytest.importorskip("timm.layers.std_conv")
    for layer in (std.StdConv2d, std.ScaledStdConv2d, std.ScaledStdConv2dSame):
        model = nn.Sequential(nn.Conv2d(2, 3, 1), layer(3, 4, 1), nn.Conv2d(4, 2, 1))
        masks = random_masks(model, 0.5, 0)
        prune_init.apply_masks(model, masks)
        weight = model[1].weight
        with pytest.raises(UnsupportedOperationError, match="batch_norm of weights subtracts their mean"):
            effective_weights(model, masks, torch.ones(1, 2, 3, 3))
        standard = F.batch_norm(weight.reshape(1, 4, -1), None, None, training=True).reshape_as(weight)
        assert (standard != 0)[~masks["1.weight"]].any()  # pruned weights come back


def test_blur_pooling():
    blur = pytest.importorskip("timm.layers.blur_pool").BlurPool2d
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), blur(4), nn.Conv2d(4, 2, 1))
    assert check(model, torch.ones(1, 2, 8, 8))[0] == 72 + 8
    assert prune_init.connectivity(nn.Sequential(nn.Conv2d(2, 4, 3), blur()), torch.ones(1, 2, 8, 8)).connected


SPATIAL = {
    "average pool": lambda y: F.avg_pool2d(y, (2, 3), 2, (0, 1), ceil_mode=True),
    "padded by reflection": lambda y: F.pad(y, (2, 1, 0, 2), mode="reflect"),
    "padded with ones": lambda y: F.pad(y, (1, 1, 1, 1), value=1.0),
    "fixed kernel": lambda y: F.conv2d(y, torch.eye(4, dtype=y.dtype)[:, :, None, None].roll(1, 0)),
    "fixed transposed kernel": lambda y: F.conv_transpose2d(y, torch.ones(4, 1, 2, 1, dtype=y.dtype), groups=4),
    "index_add": lambda y: torch.zeros_like(y).index_add(1, torch.tensor([0, 0, 3]), y[:, 1:]),
    "scatter_add": lambda y: torch.zeros_like(y).scatter_add(3, torch.zeros_like(y, dtype=torch.long), y),
}


@pytest.mark.parametrize("name", SPATIAL)
def test_images_are_followed_place_by_place(name):
    class Images(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Conv2d(2, 4, 3, dilation=2, padding=2), nn.Conv2d(4, 4, 3, padding=1, groups=2)

        def forward(self, x):
            return self.last(SPATIAL[name](F.relu(self.first(x))))

    counts = check(Images(), torch.ones(1, 2, 5, 6), densities=(1.0, 0.3, 0.05))
    assert 0 < max(counts[-3:]) < counts[0]


def into_zeros(n, y):
    out = torch.zeros_like(y)
    head = out[:, :4]
    out[:, 1:3] = y[:, 2:4]
    head[:, 0] = y[:, 5]
    return out


def into_constants(n, y):
    out = torch.ones(y.shape, dtype=y.dtype)
    out[:, ::2] = y[:, ::2]
    return out


def old_value_kept(n, y):
    kept = F.hardtanh(y, -9, 9)
    kept.add_(y.flip(1))
    return torch.where(torch.arange(6) < 2, kept, y)


def filled_where_large(n, y):
    y = y * 1
    y[y > 1e9] = 0
    return y


@pytest.mark.parametrize("between", [into_zeros, into_constants, old_value_kept, filled_where_large])
def test_writes_in_place_are_followed(between):
    counts = check(Net(between), X)
    assert 0 < max(counts[-3:]) < counts[0]


MASK = torch.tensor([0.0, 0.5, 1.0, 2.0, 0.0, 0.3])
STEPS = {
    "sum": lambda a, b: a + b,
    "masked": lambda a, b: a * MASK.to(a.dtype),
    "sum in place": lambda a, b: a.add_(b.clone()),
    "mask in place": lambda a, b: a.mul_(MASK.roll(1).to(a.dtype)),
    "shift in place": lambda a, b: a.sub_(-0.5),
    "relu in place": lambda a, b: F.relu(a, inplace=True),
    "hardtanh in place": lambda a, b: F.hardtanh(a, -1e9, 1e9, True),
    "left half in place": lambda a, b: a[:, :3].add_(b[:, 3:].clone()),
    "right half augmented": lambda a, b: operator.iadd(a[:, 3:], b[:, :3].clone()),
    "write a number": lambda a, b: a.__setitem__((0, slice(2, 4)), 5.0),
    "view": lambda a, b: a[:, :],
    "write": lambda a, b: a.__setitem__((slice(None), slice(2, 4)), b[:, :2].clone()),
    "write through a view": lambda a, b: a.t()[1:3].copy_(b.t()[3:5].clone()),
    "clear": lambda a, b: a[:, 1].zero_(),
    "constants in place": lambda a, b: a[:, 4:].copy_(torch.ones(2, 2)),
    "product": lambda a, b: a @ torch.eye(6, dtype=a.dtype).roll(2, 0).tril(3),
    "copy": lambda a, b: a.clone(),
    "buffer": lambda a, b: torch.full_like(a, 2).index_copy_(1, torch.tensor([0]), torch.zeros(2, 1, dtype=a.dtype)),
    "into a buffer": lambda a, b: torch.ones_like(a).mul_(b),
    "detour": lambda a, b: torch.where(MASK > 0.4, a, b),
}


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(sorted(STEPS)), st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=8),
    st.integers(0, 10**6),
)
def test_any_order_of_steps_in_place_and_through_views(steps, seed):
    def between(net, y):
        values = [y, y.flip(1) * 3]
        for name, i, j in steps:
            new = STEPS[name](values[i % len(values)], values[j % len(values)])
            if isinstance(new, torch.Tensor) and new.shape == y.shape:
                values.append(new)
        return sum(value * (k + 1) for k, value in enumerate(values))

    net = Net(between)
    masks = random_masks(net, 0.3, seed)
    try:
        expected = by_gradient(net, masks, X)
    except RuntimeError:  # autograd needs a value that was overwritten
        assume(False)
    found = effective_weights(net, masks, X)
    assert all(torch.equal(found[n], expected[n]) for n in masks)


class Careless(nn.Module):
    """Counts in a buffer and in an attribute, stores a result, and normalises its input in place."""

    def __init__(self):
        super().__init__()
        self.register_buffer("count", torch.zeros(()), persistent=False)
        self.norm, self.out, self.calls, self.last = nn.BatchNorm1d(4), nn.Linear(4, 2), 0, None

    def forward(self, x):
        self.count += 1
        self.calls += 1
        x.sub_(0.5).div_(0.25)
        self.last = self.norm(x)
        return self.out(self.last)


READERS = {
    "connectivity": prune_init.connectivity,
    "compact": prune_init.compact,
    "compact for inference": lambda net, x: prune_init.compact(net, x, exact=False),
    "conservation": prune_init.conservation,
    "conservation in train mode": lambda net, x: prune_init.conservation(net, x, mode="train"),
    "save_program": lambda net, x: save_program(net, x, io.BytesIO()),
}


@pytest.mark.parametrize("reader", READERS)
def test_the_input_and_what_the_net_keeps_are_never_written_to(reader):
    torch.manual_seed(0)
    model, x = Careless().train(), torch.rand(3, 4)
    before, tensors = x.clone(), {n: t.clone() for n, t in (*model.named_buffers(), *model.named_parameters())}
    random = torch.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        READERS[reader](model, x)
    assert torch.equal(x, before) and model.last is None and model.calls == 0
    assert all(torch.equal(t, tensors[n]) for n, t in (*model.named_buffers(), *model.named_parameters()))
    assert torch.equal(random, torch.get_rng_state())


def test_a_net_that_works_in_place_is_wholly_connected_and_its_program_agrees():
    model, x = Careless(), torch.rand(3, 4)
    assert prune_init.connectivity(model, x).effective_sparsity == 0
    assert save_program(model, x, io.BytesIO()) < 1e-6


def test_what_cannot_be_told_is_unknown_not_false():
    hidden = [torch.zeros(6)]
    scripted = torch.jit.script(nn.ReLU())
    odd = {
        "out": lambda n, y: torch.add(y, y, out=torch.empty_like(y)),
        "a tensor outside": lambda n, y: y + hidden[0].add_(1),
        "sorted": lambda n, y: y.sort(1)[0],
        "item": lambda n, y: y if y.sum() > 0 else y * 0,
        "scripted": lambda n, y: scripted(y),
        "one of several views": lambda n, y: torch.cat(
            [part.add_(n.v[i]) for i, part in enumerate(y.clone().unbind(1))]
        ),
        "form": lambda n, y: torch.where(y > 0)[0],
        "chosen": lambda n, y: n.v[(y > 0).long()],
    }
    for between in odd.values():
        with pytest.raises(UnsupportedOperationError):
            prune_init.connectivity(Net(between, v=torch.rand(6)), X)
    assert hidden[0].sum() == 0
    model = Net(odd["sorted"])
    model.input_shape = (5,)
    with pytest.warns(UserWarning, match="effective sparsity is unknown: the effect of sort on paths is not known"):
        result = prune_init.prune(model, "magnitude", 0.5)
    assert (result.connected, result.effective_sparsity, result.sparsity) == (None, None, 0.5)


class Swish(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, scale):
        ctx.save_for_backward(x)
        return x * torch.sigmoid(x) * scale

    @staticmethod
    def backward(ctx, grad):
        return torch.zeros_like(grad), None


def test_the_forward_of_autograd_functions_is_followed():
    net = Net(lambda n, y: Swish.apply(y, n.v), v=torch.tensor([1.0, 0, 0, 0, 0, 0]))
    assert [row.effective for row in prune_init.connectivity(net, X).layers] == [5, 3]


class Several(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 3), nn.Linear(2, 3), nn.Linear(3, 2)

    def forward(self, image, extra=None):
        hidden = self.a(image)
        return {"hidden": [hidden], "out": self.c(hidden if extra is None else hidden + self.b(extra))}


def test_structures_of_inputs_and_outputs():
    image, extra = torch.ones(2, 4), torch.ones(2, 2)
    for x in ((image, extra), [image, extra], {"image": image, "extra": extra}):
        assert prune_init.connectivity(Several(), x).effective_sparsity == 0
        check(Several(), x)
    alone = prune_init.connectivity(Several(), {"image": image})
    assert [row.effective for row in alone.layers] == [12, 0, 6]
    two = nn.Bilinear(4, 2, 3)
    assert check(two, (image, extra))[0] == 24
    with pytest.raises(prune_init.InputError, match="Several cannot be run on it"):
        prune_init.connectivity(Several(), (image, extra, extra))


class Language(nn.Module):
    """Token ids, a padding mask, positions, attention, and a head that shares the embedding matrix."""

    def __init__(self):
        super().__init__()
        self.tokens, self.places = nn.Embedding(7, 4), nn.Embedding(5, 4)
        self.q, self.k, self.v, self.out = (nn.Linear(4, 4) for _ in range(4))
        self.head = nn.Linear(4, 7, bias=False)
        self.head.weight = self.tokens.weight

    def forward(self, ids, mask=None):
        x = self.tokens(ids) + self.places(torch.arange(ids.shape[1], device=ids.device))
        scores = self.q(x) @ self.k(x).transpose(1, 2) / 2
        if mask is not None:
            scores = scores + (1.0 - mask[:, None].to(scores.dtype)) * torch.finfo(scores.dtype).min
        y = self.out(scores.softmax(-1) @ self.v(x))
        return self.head(x + y)


def test_token_ids_begin_paths_at_the_embedding():
    model, ids = Language(), torch.zeros(2, 5, dtype=torch.long)
    for x in (ids, {"ids": ids, "mask": torch.ones_like(ids)}):
        assert prune_init.connectivity(model, x).effective_sparsity == 0
    masks = {n: torch.ones_like(w, dtype=torch.bool) for n, w in prunable(model).items()}
    masks["q.weight"][:] = masks["k.weight"][:] = False  # attention is then uniform and passes the values on
    masks["out.weight"][:, 1:] = False
    found = effective_weights(model, masks, ids)
    assert found["v.weight"].sum(1).tolist() == [4, 0, 0, 0] and found["out.weight"].sum() == 4
    assert not found["q.weight"].any()


class Chosen(nn.Module):
    """A vector for each token by a given operation, then a layer; tokens may be masked."""

    def __init__(self, read):
        super().__init__()
        self.table, self.read, self.first, self.last = (
            nn.Parameter(torch.zeros(7, 4)),
            read,
            *map(nn.Linear, (4, 3), (3, 2)),
        )

    def forward(self, ids, mask):
        x = F.relu(self.first(self.read(self, ids)))
        return self.last((x * mask[..., None]).masked_fill(~mask[..., None], 0).sum(1))


READS = {
    "embedding": lambda net, ids: F.embedding(ids, net.table),
    "index": lambda net, ids: net.table[ids],
    "index_select": lambda net, ids: net.table.index_select(0, ids.flatten()).view(*ids.shape, 4),
    "one_hot": lambda net, ids: F.linear(F.one_hot(ids, 7).float(), net.table.t()),
    "numbers": lambda net, ids: torch.stack([ids.float() / 7] * 4, -1),
}


@pytest.mark.parametrize("read", READS)
def test_what_integers_choose_begins_paths_and_a_mask_does_not(read):
    net = Chosen(READS[read])
    x = torch.zeros(2, 5, dtype=torch.long), torch.zeros(2, 5, dtype=torch.bool)  # other inputs may have other masks
    masks = {n: torch.ones_like(w, dtype=torch.bool) for n, w in prunable(net).items()}
    masks["first.weight"][1:] = False
    found = effective_weights(net, masks, x)
    assert [int(m.sum()) for m in found.values()] == [4, 2]
    masks["first.weight"][:] = False
    assert not any(m.any() for m in effective_weights(net, masks, x).values())


def test_layers_that_are_skipped_at_random_are_never_cut():
    drop = pytest.importorskip("timm.layers").DropPath
    skips = {
        "timm": drop(0.999),
        "torchvision": torchvision.ops.StochasticDepth(0.999, "row"),
        "dropout": nn.Dropout(0.999),
    }
    for layer in skips.values():
        found = prune_init.connectivity(Net(lambda n, y, layer=layer: layer(y)).train(), X)
        assert found.effective_sparsity == 0
    by_hand = Net(lambda n, y: y * (torch.rand(y.shape) > 2) * F.dropout(n.v, 0.999, training=True), v=torch.ones(6))
    assert prune_init.connectivity(by_hand, X).effective_sparsity == 0
    noise = Net(lambda n, y: 0 * y + n.noise(torch.randn(2, 4)), noise=nn.Linear(4, 6))
    assert prune_init.connectivity(noise, X).connected is False


def test_attention_without_queries_and_keys_lets_values_through():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.mix, self.out = nn.MultiheadAttention(4, 2, batch_first=True), nn.Linear(4, 2)

        def forward(self, x):
            return self.out(self.mix(x, x, x, need_weights=self.training)[0])

    for mode in (True, False):
        model = Attention().train(mode)
        assert prune_init.connectivity(model, torch.ones(2, 3, 4)).effective_sparsity == 0
        masks = {n: torch.ones_like(w, dtype=torch.bool) for n, w in prunable(model).items()}
        masks["mix.in_proj_weight"][:8] = False
        masks["mix.in_proj_weight"][9:] = False
        found = effective_weights(model, masks, torch.ones(2, 3, 4))
        assert found["mix.in_proj_weight"].sum() == 4 and found["mix.out_proj.weight"].sum() == 4


class Recurrent(nn.Module):
    """A recurrent layer between two linear ones."""

    def __init__(self, make, last, when=(1.0, 1.0, 1.0)):
        super().__init__()
        self.register_buffer("when", torch.tensor(when)[:, None])
        self.first, self.rnn = nn.Linear(3, 4), make(4, 5)
        width = self.rnn(torch.ones(1, 2, 4))[0].shape[-1]
        self.out, self.last = nn.Linear(width, 2), last

    def forward(self, x):
        y = self.first(x) * self.when
        y = self.rnn(y)[0] if self.rnn.batch_first else self.rnn(y.transpose(0, 1))[0].transpose(0, 1)
        return self.out(y[:, -1] if self.last else y)


RECURRENT = {
    "lstm": lambda a, b: nn.LSTM(a, b, batch_first=True),
    "two-way lstm of two layers": lambda a, b: nn.LSTM(a, b, 2, bidirectional=True, batch_first=True),
    "lstm with a projection": lambda a, b: nn.LSTM(a, b, 2, proj_size=3, batch_first=True),
    "lstm without biases, time first": lambda a, b: nn.LSTM(a, b, bias=False),
    "gru": lambda a, b: nn.GRU(a, b, batch_first=True),
    "gru without biases": lambda a, b: nn.GRU(a, b, bias=False, batch_first=True),
    "two-way gru": lambda a, b: nn.GRU(a, b, 2, bidirectional=True, batch_first=True),
    "tanh": lambda a, b: nn.RNN(a, b, 2, batch_first=True),
    "relu": lambda a, b: nn.RNN(a, b, nonlinearity="relu", batch_first=True),
}


def graph_of(layer, time, masks):
    """Edges (from, to, weight or None, factor) of a layer unrolled in time.

    Nodes are (layer, direction, time, unit, part). An edge with a factor, one or several nodes, exists only where one
    of them may differ from 0.
    """
    ways, gates = 1 + layer.bidirectional, {"LSTM": "ifgo", "GRU": "rzn"}.get(layer.mode, "n")
    for level, way, t in itertools.product(range(layer.num_layers), range(ways), range(time)):
        name = f"_l{level}" + "_reverse" * way
        before = t - 1 if way == 0 else t + 1
        ih, hh = masks[f"rnn.weight_ih{name}"], masks[f"rnn.weight_hh{name}"]
        for row, gate in ((r, gates[r // layer.hidden_size]) for r in range(len(ih))):
            here = (level, way, t, row % layer.hidden_size)
            for column in range(ih.shape[1]):
                if level == 0:
                    source = ("in", t, column)
                else:
                    size = ih.shape[1] // ways
                    source = (level - 1, column // size, t, column % size, "out")
                yield source, (*here, gate), (f"rnn.weight_ih{name}", row, column), None
            for column in range(hh.shape[1]):
                if 0 <= before < time:
                    source = (level, way, before, column, "out")
                    part = "from state" if gates == "rzn" and gate == "n" else gate
                    yield source, (*here, part), (f"rnn.weight_hh{name}", row, column), None
        for unit in range(layer.hidden_size):
            here, last = (level, way, t, unit), (level, way, before, unit)
            yield from cell_of(layer.mode, here, last)
            if f"rnn.weight_hr{name}" not in masks:
                yield (*here, "h"), (*here, "out"), None, None
                continue
            for row in range(layer.proj_size):
                yield (*here, "h"), (level, way, t, row, "out"), (f"rnn.weight_hr{name}", row, unit), None


def cell_of(mode, here, last):
    """The edges of one unit's cell: the sigmoids i, f, o, r and z only matter where what they multiply is not 0."""
    node = {part: (*here, part) for part in [*"ifgoczrnh", "from state"]}
    old = {part: (*last, part) for part in "ch"}
    if mode == "LSTM":
        yield node["i"], node["c"], None, [node["g"]]
        yield node["f"], node["c"], None, [old["c"]]
        yield node["o"], node["h"], None, [node["c"]]
        always = [(node["g"], node["c"]), (old["c"], node["c"]), (node["c"], node["h"])]
    elif mode == "GRU":
        yield node["r"], node["n"], None, [node["from state"]]
        yield node["z"], node["h"], None, [node["n"], old["h"]]
        always = [(node["from state"], node["n"]), (node["n"], node["h"]), (old["h"], node["h"])]
    else:
        always = [(node["n"], node["h"])]
    for a, b in always:
        yield a, b, None, None


def by_search(model, time, masks):
    """Weights on a path in the graph of all units at all times, by search from the input and back from the output."""
    given = [edge for edge in graph_of(model.rnn, time, masks) if edge[2] is None or masks[edge[2][0]][edge[2][1:]]]
    first, out = masks["first.weight"], masks["out.weight"]
    times = model.when.flatten().nonzero().flatten().tolist()
    started = [("x", ("in", t, i), ("first.weight", i, j)) for t in times for i, j in first.nonzero().tolist()]
    constant = [("x", ("in", t, i), None) for t in times for i in range(len(first))]  # the first layer has biases
    biased = {a for a, *_ in given if a[-1] in ("g", "n", "from state")} if model.rnn.bias else set()
    plain = [(a, b) for a, b, _, factor in given if factor is None] + [(a, b) for a, b, _ in constant]
    nonzero = closure("x", [*plain, *(("x", node) for node in biased)])
    edges = [(a, b, w) for a, b, w, factor in given if factor is None or not nonzero.isdisjoint(factor)] + started
    top = model.rnn.num_layers - 1
    size = out.shape[1] // (1 + model.rnn.bidirectional)
    for t, (i, j) in itertools.product([time - 1] if model.last else range(time), out.nonzero().tolist()):
        edges.append(((top, j // size, t, j % size, "out"), "y", ("out.weight", i, j)))
    ahead, back = closure("x", [(a, b) for a, b, _ in edges]), closure("y", [(b, a) for a, b, _ in edges])
    found = {n: torch.zeros_like(m) for n, m in masks.items()}
    for a, b, w in edges:
        if w is not None and a in ahead and b in back:
            found[w[0]][w[1], w[2]] = True
    return found


def closure(start, edges):
    following = {}
    for a, b in edges:
        following.setdefault(a, []).append(b)
    seen, todo = {start}, [start]
    while todo:
        new = [b for b in following.get(todo.pop(), []) if b not in seen]
        seen.update(new)
        todo += new
    return seen


@pytest.mark.parametrize("when", [(1.0, 1.0, 1.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)])
@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("name", RECURRENT)
def test_recurrent_layers_match_a_search_through_time(name, last, when):
    torch.manual_seed(0)
    model, counts = Recurrent(RECURRENT[name], last, when), []
    flat = list(model.rnn._flat_weights)
    for density, seed in itertools.product((1.0, 0.3, 0.1), range(4)):
        masks = random_masks(model, density, seed)
        if seed == 3:  # cells keep their state without weights
            masks = {n: m & (torch.tensor("weight_hh" not in n)) for n, m in masks.items()}
        found, expected = effective_weights(model, masks, torch.ones(2, 3, 3)), by_search(model, 3, masks)
        assert all(torch.equal(found[n], expected[n]) for n in masks), (density, seed)
        counts.append(sum(int(m.sum()) for m in found.values()))
    assert 0 < max(counts[4:]) < counts[0]
    assert all(a is b for a, b in zip(flat, model.rnn._flat_weights, strict=True))


class Cells(nn.Module):
    def __init__(self, cell):
        super().__init__()
        self.first, self.cell, self.out = nn.Linear(3, 4), cell(4, 5), nn.Linear(5, 2)

    def forward(self, x):
        state = None
        for step in self.first(x).unbind(1):
            state = self.cell(step, state)
        return self.out(state[0] if isinstance(state, tuple) else state)


@pytest.mark.parametrize("cell", [nn.LSTMCell, nn.GRUCell, nn.RNNCell])
def test_a_cell_is_a_layer_step_by_step(cell):
    layer = {nn.LSTMCell: nn.LSTM, nn.GRUCell: nn.GRU, nn.RNNCell: nn.RNN}[cell]
    whole = Recurrent(lambda a, b: layer(a, b, batch_first=True), last=True)
    steps = Cells(cell)
    for seed in range(6):
        masks = random_masks(whole, 0.3, seed)
        named = {n.replace("rnn", "cell").replace("_l0", ""): m for n, m in masks.items()}
        found, expected = (effective_weights(n, m, torch.ones(2, 3, 3)) for n, m in ((steps, named), (whole, masks)))
        assert all(torch.equal(a, b) for a, b in zip(found.values(), expected.values(), strict=True))


def test_packed_sequences_are_unknown():
    class Packed(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.rnn = nn.Linear(3, 4), nn.LSTM(4, 5)

        def forward(self, x):
            return self.rnn(nn.utils.rnn.pack_padded_sequence(self.first(x), torch.tensor([3, 2])))[1][0]

    with pytest.raises(UnsupportedOperationError):
        prune_init.connectivity(Packed(), torch.ones(3, 2, 3))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_models_and_defaults_of_other_types(dtype):
    default = torch.get_default_dtype()
    try:
        torch.set_default_dtype(dtype)
        model = Net(lambda n, y: torch.cat([y[:, :3], torch.zeros(2, 3)], 1) @ n.m, m=nn.Parameter(torch.ones(6, 6)))
        found = prune_init.connectivity(model, torch.ones(2, 5))
        assert [row.effective for row in found.layers] == [15, 18]
        mixed = Net(lambda n, y: y.float().mul(torch.ones(6)).to(n.last.weight.dtype))
        assert prune_init.connectivity(mixed, torch.ones(2, 5)).effective_sparsity == 0
    finally:
        torch.set_default_dtype(default)
    assert prune_init.connectivity(mixed, torch.ones(2, 5)).effective_sparsity == 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", RECURRENT)
def test_a_gpu_finds_the_same_paths(name):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv1d(2, 16, 3, padding=1), nn.Conv1d(16, 3, 3, padding=1), Recurrent(RECURRENT[name], True)
    )
    masks, x = random_masks(model, 0.2, 0), torch.ones(4, 2, 3)
    expected, found = effective_weights(model, masks, x), effective_weights(model.cuda(), masks, x)
    assert all(torch.equal(found[n].cpu(), expected[n]) for n in masks)
