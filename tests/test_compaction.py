"""Compact nets compared with the equivalent masked nets: outputs, gradients, statistics, training, export."""

import copy
import pickle
import random
import threading
import types
import warnings
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.prune import random_unstructured

import prune_init
from prune_init.analysis.networks import INPUT_SHAPE, NETWORKS
from prune_init.architectures import conv, mlp, resnet, vgg
from prune_init.compaction.compact import expand
from prune_init.compaction.export import save_program
from prune_init.pruning.weights import prunable

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


class Drawn(nn.Module):
    """A random net of random kinds of blocks, with and without rules for compaction."""

    KINDS = ("plain", "residual", "concat", "grouped", "depthwise", "pool", "gate", "pad", "odd", "twice", "preact")

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.draw = lambda high: int(torch.randint(high, (), generator=generator))
        self.kinds = [self.KINDS[self.draw(len(self.KINDS))] for _ in range(1 + self.draw(5))]
        width = 4
        self.stem = self.unit(2, width)
        self.blocks = nn.ModuleList()
        for kind in self.kinds:
            self.blocks.append(self.block(kind, width))
            width = 2 * width if kind == "concat" else width
        self.flat = self.draw(2) == 1
        self.hidden = nn.Linear(width * 16 if self.flat else width, 6, bias=self.draw(2) == 1)
        self.head = nn.Linear(6, 3, bias=self.draw(2) == 1)

    def unit(self, wide_in, wide_out, groups=1):
        kernel = 1 + 2 * self.draw(2)
        layers = [nn.Conv2d(wide_in, wide_out, kernel, padding=kernel // 2, groups=groups, bias=self.draw(2) == 1)]
        if self.draw(4):
            layers.append(nn.BatchNorm2d(wide_out, affine=self.draw(6) > 0, track_running_stats=self.draw(6) > 0))
        activations = (nn.ReLU(), nn.ReLU(inplace=True), nn.ReLU6(), nn.GELU(), nn.Sigmoid(), nn.Identity())
        return nn.Sequential(*layers, activations[self.draw(len(activations))])

    def block(self, kind, width):
        if kind in ("residual", "gate"):
            shortcut = nn.Identity() if self.draw(2) else self.unit(width, width)
            return nn.ModuleList([self.unit(width, width), shortcut])
        if kind == "preact":
            return nn.Sequential(nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1, bias=False))
        groups = {"grouped": 2, "depthwise": width}.get(kind, 1)
        return nn.ModuleList([self.unit(width, width, groups)])

    def forward(self, x):
        x = self.stem(x)
        for kind, block in zip(self.kinds, self.blocks, strict=True):
            x = self.run(kind, block, x)
        x = F.adaptive_avg_pool2d(x, 4)
        return self.head(F.relu(self.hidden(x.flatten(1) if self.flat else x.mean((2, 3)))))

    def run(self, kind, block, x):
        if kind == "preact":
            return x + block(x)
        y = block[0](x)
        if kind == "residual":
            return F.relu(y + block[1](x))
        if kind == "gate":
            gate = F.adaptive_avg_pool2d(y, 1)
            b, c = gate.shape[0], gate.size(1)
            return block[1](x) * torch.sigmoid(gate.view(b, c).view(b, c, 1, 1))
        if kind == "concat":
            return torch.cat([y, x], 1)
        if kind == "pool":
            return F.max_pool2d(y, 3, stride=1, padding=1)
        if kind == "pad":
            return F.pad(y, (1, 0, 0, 1))
        if kind == "odd":
            return y.flip(1) * torch.tensor(0.5)
        return block[0](y) if kind == "twice" else y


def random_masks(model, generator, density=0.6, dead=0.3):
    """Masks that remove random weights and whole random rows and columns."""
    masks = {}
    for name, weight in prunable(model).items():
        mask = torch.rand(weight.shape, generator=generator) < density
        for axis in (0, 1):
            lines = [1] * weight.ndim
            lines[axis] = weight.shape[axis]
            mask &= torch.rand(lines, generator=generator) >= dead
        masks[name] = mask
        weight.data[~mask] = 0
    return masks


@torch.no_grad()
def shake(model, generator, share=0.5):
    """Randomise norm parameters, statistics and biases in some channels; the others keep their initial values."""
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.ndim == 1 and tensor.is_floating_point():
            around = -0.25 if name.endswith(("bias", "running_mean")) else 0.75
            noise = around + 0.5 * torch.rand(tensor.shape, generator=generator, dtype=tensor.dtype)
            tensor.copy_(noise.where(torch.rand(tensor.shape, generator=generator) < share, tensor))


def compacted(model, x, **options):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="compaction has no rule")
        return prune_init.compact(model, x, **options)


def gradients(model, x, masks):
    """The outputs, and the masked gradients of a random linear loss."""
    model.zero_grad()
    output = model(x)
    weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    (output * weights.to(output)).sum().backward()
    grads = {name: torch.zeros_like(p) if p.grad is None else p.grad for name, p in model.named_parameters()}
    return output.detach(), {name: grad * masks[name] if name in masks else grad for name, grad in grads.items()}


def assert_same(model, small, x, masks, mode):
    """Check that outputs and gradients agree, and that removed weights have no gradient."""
    model, small = copy.deepcopy(model).train(mode), copy.deepcopy(small).train(mode)
    expected, big = gradients(model, x, masks)
    found, little = gradients(small, x, small.compaction.masks)
    close = TOLERANCE[x.dtype]
    assert (found - expected).abs().max() <= close * expected.abs().max()
    largest = max(grad.abs().max() for grad in big.values())
    narrow = small.compaction.narrow(big)
    for name, grad in little.items():
        assert (grad - narrow[name]).abs().max() <= close * largest, name
        big[name][small.compaction.index[name]] = 0
    assert all(not grad.any() for grad in big.values())
    for name, buffer in small.named_buffers():
        if name in small.compaction.index and not small.compaction.left_alone:
            whole = model.get_buffer(name)[small.compaction.index[name]]
            assert torch.allclose(buffer, whole, rtol=close, atol=close), name


def draw(seed, dtype=torch.float64, stats=True):
    """A connected, masked, random net and its input."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    while True:
        model = Drawn(generator).to(dtype)
        masks = random_masks(model, generator)
        if stats:
            shake(model, generator)
        x = torch.randn(4, 2, 6, 6, generator=generator, dtype=dtype)
        try:
            return model, masks, x, compacted(model, x, masks=masks)
        except prune_init.InputError as error:
            assert "no path" in str(error)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.booleans(), st.booleans())
def test_random_nets_compute_and_learn_the_same(seed, mode, stats):
    model, masks, x, small = draw(seed, stats=stats)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert_same(model, small, x, masks, mode)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert small.training == model.training


@pytest.mark.parametrize("adam", [False, True])
@pytest.mark.parametrize("stats", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_random_nets_train_the_same(seed, stats, adam):
    model, masks, x, small = draw(seed, stats=stats)
    whole = copy.deepcopy(model)
    found, expected = (train(net, x, kept, adam) for net, kept in ((small, small.compaction.masks), (model, masks)))
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-8)
    assert expand(small, whole) is whole
    for key, index in small.compaction.index.items():
        assert torch.equal(whole.state_dict()[key][index], small.state_dict()[key]), key
    for mode in (False, True):
        torch.testing.assert_close(whole.train(mode)(x), small.train(mode)(x), rtol=1e-9, atol=1e-9)


def train(model, x, masks, adam, steps=8):
    """Masked training as with Lightning: gradients are masked before clipping, weights after the step."""
    targets = torch.arange(len(x)) % 3
    model.train()
    weights = dict(model.named_parameters())
    if adam:
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    else:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-3)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), targets)
        loss.backward()
        for name, mask in masks.items():
            if weights[name].grad is not None:
                weights[name].grad *= mask
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        with torch.no_grad():
            for name, mask in masks.items():
                weights[name] *= mask
        losses.append(loss.item())
    return torch.tensor(losses, dtype=torch.float64)


OURS = {
    "mlp": lambda: mlp.mlp(10, (1, 8, 8)),
    "conv": lambda: conv.conv(10, (1, 16, 16)),
    "vgg11": lambda: vgg.vgg(11, 10, (3, 16, 16)),
    "resnet18": lambda: resnet.resnet(18, 10, (3, 8, 8)),
    "thin": lambda: resnet.thin_resnet(20, 10, (3, 8, 8)),
}


def pruned(name, dtype, sparsity=0.95):
    torch.manual_seed(0)
    model = OURS[name]().to(dtype)
    result = prune_init.prune(model, "synflow", sparsity, iterations=5)
    return model, result.masks, torch.randn(4, *model.input_shape, dtype=dtype)


@pytest.mark.parametrize(("name", "dtype"), [("conv", torch.float32), *((name, torch.float64) for name in OURS)])
def test_our_nets(name, dtype):
    torch.manual_seed(0)
    model = OURS[name]().to(dtype)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    masks = random_masks(model, torch.Generator().manual_seed(0), 0.3, 0.2)
    x = torch.randn(4, *model.input_shape, dtype=dtype)
    small = prune_init.compact(model, x, masks=masks)
    sizes = [sum(p.numel() for p in net.parameters()) for net in (model, small)]
    assert sizes[1] < 0.8 * sizes[0]
    assert small.input_shape == model.input_shape
    assert_same(model, small, x, masks, mode=False)
    for key, mask in small.compaction.masks.items():
        assert not small.get_parameter(key)[~mask].any()
    if dtype == torch.float64:  # in float32, norms of small batches amplify rounding
        assert_same(model, small, x, masks, mode=True)


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "ViT (timm)"])  # it branches on values
def test_networks_of_other_libraries(name):
    pytest.importorskip("timm")
    torch.manual_seed(0)
    model = NETWORKS[name]().double().eval()
    generator = torch.Generator().manual_seed(0)
    shake(model, generator, 0.1)
    for module in model.modules():
        if type(module).__name__ in ("Dropout", "StochasticDepth"):
            module.p = 0.0
    masks = random_masks(model, generator, 0.9, 0.03)
    x = torch.randn(2, *INPUT_SHAPE, dtype=torch.float64, generator=generator)
    before = copy.deepcopy(model.state_dict())
    small = compacted(model, x, masks=masks)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    sizes = [sum(p.numel() for p in net.parameters()) for net in (model, small)]
    assert sizes[1] < sizes[0]
    assert_same(model, small, x, masks, mode=False)


def two_layers():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    with torch.no_grad():
        model[0].weight[1] = 0
    return model


def test_a_constant_that_training_changes_is_kept_and_said():
    model = two_layers()
    model[0].bias.data[1] = 0.5
    small = prune_init.compact(model, torch.empty(1, 4))
    assert small.compaction.left_alone == {"0": "1 channels emit a constant that is read"}


def test_inexact_folds_constants_into_the_bias_of_their_reader():
    model = two_layers()
    model[0].bias.data[1] = 0.5
    x = torch.randn(5, 4)
    small = prune_init.compact(model, x, exact=False)
    assert small.get_submodule("0").out_features == 2
    torch.testing.assert_close(small(x), model(x))
    whole = expand(small, copy.deepcopy(model))
    torch.testing.assert_close(whole(x), model(x))


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.integers(0, 10**6))
def test_inexact_is_exact_in_eval_mode(seed):
    model, masks, x, _ = draw(seed)
    small = compacted(model, x, masks=masks, exact=False)
    model.eval(), small.eval()
    torch.testing.assert_close(small(x), model(x), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(expand(small, model)(x), small(x), rtol=1e-9, atol=1e-9)


def test_a_zero_bias_goes_behind_relu_and_stays_behind_a_join():
    class Net(nn.Module):
        def __init__(self, join):
            super().__init__()
            self.one, self.norm = nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
            self.two, self.join = nn.Conv2d(4, 1, 1), join

        def forward(self, x):
            y = self.norm(self.one(x))
            return self.two(F.relu(x + y if self.join else y)).mean((2, 3))

    for join, left in ((False, 3), (True, 4)):
        torch.manual_seed(0)
        model = Net(join)
        model.one.weight.data[2] = 0
        small = prune_init.compact(model, torch.empty(1, 1, 4, 4))
        assert small.get_submodule("norm").num_features == left
        assert small.get_submodule("one").out_channels == 3  # no weight leads there, so the norm's input is zero
        assert small.get_submodule("two").in_channels == left


def test_a_net_that_is_not_pruned_comes_back_as_it_is():
    model = OURS["thin"]()
    small = prune_init.compact(model, torch.empty(1, 3, 8, 8))
    assert type(small) is type(model) and small is not model
    assert all(torch.equal(t, model.state_dict()[n]) for n, t in small.state_dict().items())
    assert small.compaction.left_alone == {}
    assert expand(small, model) is model


def test_a_net_without_values_is_refused():
    with pytest.raises(
        prune_init.InputError, match=r"model=0\.weight: is torch\.float32 on meta; allowed: real numbers"
    ):
        prune_init.compact(nn.Sequential(nn.Linear(6, 4)).to("meta"), torch.empty(1, 6))


def test_a_net_with_two_inputs_is_refused():
    with pytest.raises(
        prune_init.InputError, match="model=Bilinear: needs a second input, input2; allowed: nets with one"
    ):
        prune_init.compact(nn.Bilinear(4, 4, 3), torch.empty(2, 4))


def test_a_disconnected_net_is_refused_where_its_last_path_ends():
    model = OURS["vgg11"]()
    model.features[8].weight.data.zero_()
    with pytest.raises(prune_init.InputError, match=r"no path .* ends in features\.8$"):
        prune_init.compact(model, torch.empty(1, 3, 16, 16))
    model = two_layers()
    model[0].weight.data[0] = 0
    model[2].weight.data[:, 2] = 0  # both layers keep weights, but no path joins them
    with pytest.raises(prune_init.InputError, match=r"ends in 2$"):
        prune_init.compact(model, torch.empty(1, 4))


def test_unknown_operations_are_listed_and_left_alone():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two, self.three = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x):
            return self.three(F.relu(self.two(torch.linalg.inv(torch.diag_embed(self.one(x).exp())).sum(1))))

    torch.manual_seed(0)
    model = Odd()
    model.two.weight.data[0] = 0
    model.two.bias.data.zero_()
    x = torch.randn(3, 4)
    with pytest.warns(UserWarning, match="has no rule for these operations .*: "):
        small = prune_init.compact(model, x)
    assert any("diag_embed" in reason for reason in small.compaction.left_alone.values())
    assert small.get_submodule("one").out_features == 4 and small.get_submodule("two").out_features == 3
    torch.testing.assert_close(small(x), model(x))


def test_shared_weights_are_left_alone():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.again = nn.Linear(4, 4), nn.Linear(4, 4)
            self.again.weight, self.last = self.first.weight, nn.Linear(4, 2)

        def forward(self, x):
            return self.last(F.relu(self.again(F.relu(self.first(x)))))

    torch.manual_seed(0)
    model = Twice()
    model.first.weight.data[1] = 0
    model.last.weight.data[:, 2] = 0
    small = compacted(model, torch.empty(1, 4))
    assert "used twice" in small.compaction.left_alone["again"]
    assert small.get_parameter("first.weight") is small.get_parameter("again.weight")
    x = torch.randn(3, 4)
    torch.testing.assert_close(small(x), model(x))


@pytest.mark.parametrize("train", [False, True])
def test_a_pickled_net_keeps_its_modes_and_its_compaction(train):
    model = dead_rows(Forward(lambda m, x: m.fc(F.dropout(F.relu(m.a(x)), 0.5, m.training)))).train(train)
    small, x = compacted(model, torch.empty(1, 6)), torch.randn(9, 6, dtype=torch.float64)
    again = copy.deepcopy(pickle.loads(pickle.dumps(small)))
    assert again.training == train and not torch.equal(again.train()(x), again(x))
    torch.testing.assert_close(again.eval()(x), model.eval()(x))
    torch.testing.assert_close(expand(again, copy.deepcopy(model))(x), model(x))


def test_views_do_not_fix_the_size_of_the_images():
    def forward(model, x):
        b, c, h, w = (y := F.relu(model.a(x))).shape
        return model.fc(y.view(b, c, h * w).view(b, c, -1).mean(2))

    model = dead_rows(Forward(forward, a=nn.Conv2d(3, 8, 3)))
    small = compacted(model, torch.empty(1, 3, 6, 6))
    assert small.get_submodule("fc").in_features == 5
    x = torch.randn(2, 3, 9, 5, dtype=torch.float64)
    torch.testing.assert_close(small(x), model(x))


class Overwritten(nn.Module):
    """Reads a tensor under another name after it was changed in place."""

    def __init__(self, forward):
        super().__init__()
        self.one, self.body = nn.Linear(6, 8), nn.Sequential(nn.Dropout(0.0), nn.ReLU(True), nn.Linear(8, 8))
        self.same, self.two, self.own = nn.Identity(), nn.Linear(8, 3), forward

    def forward(self, x, mask=None):
        h = self.own(self, self.one(x))
        return self.two(h if mask is None else h * mask)


def scaled(net, h):
    alias = h
    h *= -0.5
    return net.body[2](h) + alias


@pytest.mark.parametrize(
    "forward", [scaled, lambda net, h: net.body(h) + net.same(h), lambda net, h: net.same(h) + net.body(h)]
)
def test_what_is_overwritten_through_an_alias_is_read_as_it_is_then(forward):
    torch.manual_seed(0)
    model = Overwritten(forward).double()
    generator = torch.Generator().manual_seed(0)
    masks, x = random_masks(model, generator), torch.randn(5, 6, dtype=torch.float64)
    for mode in (False, True):
        assert_same(model, compacted(model, x, masks=masks), x, masks, mode)


def test_a_sum_with_a_dead_branch_that_is_overwritten():
    def forward(model, x):
        h = model.a(x)
        return model.fc(F.relu_(h + model.b(h)) + h)

    model = Forward(forward, b=nn.Linear(8, 8, bias=False))
    model.b.weight.data.zero_()
    model.fc.weight.data[:, 0] = 0  # the empty layer keeps one channel, which is the first
    model, small = emptied(model, torch.empty(1, 6), rows=(0,))
    assert_equal_while_called(model, small, (6,))


def test_both_modes_are_followed_and_other_branches_refused():
    class Dropping(nn.Module):
        def __init__(self, other):
            super().__init__()
            self.one, self.two, self.other = nn.Linear(4, 3), nn.Linear(3, 2), other

        def forward(self, x):
            x = F.dropout(F.relu(self.one(x)), 0.5, self.training)
            return self.two(x).exp() if self.other and self.training else self.two(x)

    torch.manual_seed(0)
    model = Dropping(False).eval()
    model.two.weight.data[:, 0] = 0
    model.one.bias.data.fill_(2.0)
    small, x = compacted(model, torch.empty(1, 4)), torch.ones(64, 4)
    torch.testing.assert_close(small(x), model(x))
    assert small.train()(x).std(0).max() > 0 and small.eval()(x).std(0).max() == 0
    with pytest.raises(prune_init.InputError, match="train and eval mode"):
        compacted(Dropping(True), torch.empty(1, 4))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_compact_net_trained_in_another_precision_comes_back_in_the_models_own(dtype):
    model, masks, x = pruned("thin", torch.float32)
    small = prune_init.compact(model, x, masks=masks)
    before = small.state_dict()
    expand(small.to(dtype), model)
    state = model.state_dict()
    for name, index in small.compaction.index.items():
        assert state[name].dtype == before[name].dtype
        assert torch.equal(state[name][index], small.state_dict()[name].to(state[name].dtype))


def test_wrong_partners_and_inputs_are_refused_in_one_line():
    model, _, x = pruned("thin", torch.float32)
    small = prune_init.compact(model, x)
    with pytest.raises(prune_init.InputError, match="not the net that was compacted"):
        expand(small, OURS["conv"]())
    with pytest.raises(prune_init.InputError, match="was not made by"):
        expand(model, model)
    with pytest.raises(prune_init.InputError, match=r"example_input=\[3, 8, 8\]: .*; its first axis is the batch$"):
        prune_init.compact(model, torch.empty(3, 8, 8))
    with pytest.raises(prune_init.InputError, match="masks=nobody"):
        prune_init.compact(model, x, masks={"nobody": torch.ones(1, dtype=torch.bool)})


def test_masks_and_weights_map_both_ways():
    model, masks, x = pruned("thin", torch.float32)
    before = torch.get_rng_state()
    small = prune_init.compact(model, x, masks=masks)
    assert torch.equal(torch.get_rng_state(), before)
    narrow = small.compaction.narrow(masks)
    assert all(torch.equal(mask, small.compaction.masks[name]) for name, mask in narrow.items())
    blank = {name: torch.zeros_like(mask) for name, mask in masks.items()}
    small.compaction.widen(narrow, blank)
    effective = prune_init.pruning.connectivity.effective_weights(model, masks, x)
    for name, mask in effective.items():
        assert not (mask & ~blank[name]).any(), name  # no weight on a path was removed
    fewer = {name: mask & (torch.rand(mask.shape) < 0.9) for name, mask in masks.items()}
    again = prune_init.compact(model, x, masks=fewer)
    assert sum(p.numel() for p in again.parameters()) <= sum(p.numel() for p in small.parameters())
    wrapped = prune_init.compact(model, x, masks={f"module.{name}": mask for name, mask in masks.items()})
    assert wrapped.compaction.masks.keys() == small.compaction.masks.keys()


def test_state_dict_and_copies_round_trip(tmp_path):
    model, _, x = pruned("thin", torch.float32)
    small = prune_init.compact(model, x)
    torch.save(small.state_dict(), tmp_path / "compact.pt")
    other = prune_init.compact(model, x)
    for p in other.parameters():
        nn.init.ones_(p)
    other.load_state_dict(torch.load(tmp_path / "compact.pt", weights_only=True))
    twin = copy.deepcopy(other)
    assert twin.compaction is other.compaction and set(small.state_dict()) <= set(model.state_dict())
    assert torch.equal(twin.eval()(x), small.eval()(x))
    small.load_state_dict(small.compaction.narrow(model.state_dict()))


class Forward(nn.Module):
    """Layers whose use is given by a function of the net and its input."""

    def __init__(self, forward, **parts):
        super().__init__()
        self.a, self.norm, self.fc = nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)
        for name, part in parts.items():
            setattr(self, name, part)
        self.how = forward

    def forward(self, x):
        return self.how(self, x)


def dead_rows(model, rows=(0, 1, 2)):
    """The net in float64 and eval mode without these rows of its first layer."""
    model = model.double().eval()
    layer = next(module for module in model.modules() if isinstance(module, (nn.Linear, nn.modules.conv._ConvNd)))
    layer.weight.data[list(rows)] = 0
    layer.bias.data.zero_()
    return model


def emptied(model, x, rows=(0, 1, 2)):
    """The net without these rows, and its compact net."""
    return dead_rows(model, rows), compacted(model, x)


def assert_equal_while_called(model, small, shape):
    for mode, size in ((False, 2), (True, 3), (False, 2), (False, 1)):
        x = torch.randn(size, *shape, dtype=torch.float64)
        torch.testing.assert_close(small.train(mode)(x), model.train(mode)(x), rtol=1e-10, atol=1e-12)


def norm_of(model, h, **other):
    b = model.norm
    return F.batch_norm(
        h, b.running_mean, b.running_var, b.weight, b.bias, **{"training": model.training, "eps": b.eps, **other}
    )


FUNCTIONS = {
    "no bias": lambda m, x: F.linear(F.relu(m.a(x)), m.fc.weight),
    "other bias": lambda m, x: F.linear(F.relu(m.a(x)), m.fc.weight, m.fc.bias * 3),
    "tied": lambda m, x: F.linear(F.linear(F.relu(m.a(x)), m.fc.weight), m.fc.weight.t()),
    "frozen statistics": lambda m, x: m.fc(F.relu(norm_of(m, m.a(x), training=False))),
    "eps": lambda m, x: m.fc(F.relu(norm_of(m, m.a(x), eps=0.1))),
    "no statistics": lambda m, x: m.fc(
        F.relu(F.batch_norm(m.a(x), None, None, m.norm.weight, m.norm.bias, training=True))
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_that_use_a_layers_tensors_otherwise_are_left_alone(name):
    model, small = emptied(Forward(FUNCTIONS[name]), torch.empty(1, 6))
    if name != "no statistics":
        assert_equal_while_called(model, small, (6,))
    assert any("linear" in why or "batch_norm" in why for why in small.compaction.left_alone.values())


def test_functions_that_a_layer_would_call_itself_are_calls_of_the_layer():
    model = Forward(lambda m, x: F.linear(bias=m.fc.bias, input=F.relu(norm_of(m, m.a(x))), weight=m.fc.weight))
    model, small = emptied(model, torch.empty(1, 6))
    assert small.compaction.left_alone == {} and small.get_submodule("fc").in_features == 5
    assert_equal_while_called(model, small, (6,))


def norm_with(**attributes):
    norm = nn.BatchNorm1d(8)
    for name, value in attributes.items():
        setattr(norm, name, value)
    return norm


@pytest.mark.parametrize("attributes", [
    {"bias": None}, {"weight": None}, {"running_mean": None, "running_var": None}, {"track_running_stats": False},
    {"num_features": 16},
])  # fmt: skip
def test_norms_from_which_something_was_taken_away(attributes):
    model = Forward(lambda m, x: m.fc(F.relu(m.norm(m.a(x)))), norm=norm_with(**attributes)).double()
    generator, x = torch.Generator().manual_seed(0), torch.randn(5, 6, dtype=torch.float64)
    shake(model, generator)
    masks = random_masks(model, generator, dead=0.2)
    model.a.bias.data[~masks["a.weight"].any(1)] = 0  # a constant would leave the norm as rounding noise
    small = compacted(model, x, masks=masks)
    assert small.get_submodule("norm").num_features < 8
    for mode in (False, True):
        assert_same(model, small, x, masks, mode)


POOLS = [
    (lambda m, x: m.fc(F.avg_pool1d(F.relu(m.a(x)), 3, 1, 1)), (5, 6)),
    (lambda m, x: m.fc(F.max_pool1d(F.relu(m.a(x)), 3, 1, 1)), (6,)),
    (lambda m, x: m.fc(F.avg_pool2d(F.relu(m.a(x)), 3, 1, 1)), (5, 6)),
    (lambda m, x: m.fc(F.adaptive_avg_pool1d(F.relu(m.a(x)), 8)), (5, 6)),
    (lambda m, x: m.fc(F.interpolate(F.relu(m.a(x)), size=8, mode="linear")), (5, 6)),
    (lambda m, x: m.conv(F.max_pool3d(F.relu(m.a(x)), (3, 1, 1), 1, (1, 0, 0))), (3, 6, 6)),
]


@pytest.mark.parametrize(("forward", "shape"), POOLS)
def test_pooling_over_channels_is_left_alone(forward, shape):
    parts = {"a": nn.Conv2d(3, 8, 3), "conv": nn.Conv2d(8, 2, 1)} if len(shape) == 3 else {}
    model, small = emptied(Forward(forward, **parts), torch.empty(1, *shape), rows=(0, 3))
    assert any("pool" in why or "interpolate" in why for why in small.compaction.left_alone.values())
    assert_equal_while_called(model, small, shape)


def cropped(m, x):
    h, y = F.relu(m.a(x)), m.conv(x)
    return m.fc((h[:, :, : y.shape[2], : y.size(3)] + y).mean((2, 3)))


SIZED = {
    "crop": (cropped, {"a": nn.Conv2d(3, 8, 3, padding=1), "conv": nn.Conv2d(3, 8, 3)}, (3, 6, 6)),
    "half": (lambda m, x: m.fc((h := F.relu(m.a(x)))[:, : h.shape[1] // 2]), {"fc": nn.Linear(4, 3)}, (6,)),
    "positions": (lambda m, x: m.fc(F.relu(m.a(x + m.b[: x.size(1)]))), {"b": nn.Buffer(torch.rand(9, 6))}, (4, 6)),
    "repeated": (
        lambda m, x: m.fc(F.relu(m.a(x) * m.b.expand(x.shape[0], -1))), {"b": nn.Buffer(torch.rand(1, 8))}, (6,)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SIZED)
def test_slices_of_tensors_and_buffers_by_the_sizes_of_others(name):
    forward, parts, shape = SIZED[name]
    model, small = emptied(Forward(forward, **parts), torch.empty(1, *shape))
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in model.parameters())
    assert_equal_while_called(model, small, shape)


def by_sizes(m, x):
    """Decides, loops and scales by sizes, as encoders and decoders of images do."""
    height, width = x.shape[-2:]
    if height % 4 != 0 or width % 4 != 0 or len(x.shape) != 4:
        raise ValueError("sizes must be multiples of 4")
    h = F.relu(m.a(x))
    for _ in range(x.shape[1]):
        h = F.avg_pool2d(h, 3, 1, 1)
    h = h + sum(part.mean() for part in x.unbind(1))
    *_, rows, columns = (size for size in h.shape)
    h = F.interpolate(h, size=(int(rows / 2), int(columns * 0.5)))
    return m.fc((h if h.shape[2] > 2 else h + 1).mean((2, 3)))


def test_a_forward_that_decides_by_sizes_is_compacted_for_such_sizes():
    model, small = emptied(Forward(by_sizes, a=nn.Conv2d(3, 8, 3, padding=1)), torch.empty(1, 3, 8, 8))
    assert small.a.out_channels < 8
    assert_equal_while_called(model, small, (3, 8, 8))
    for net in (copy.deepcopy(small), pickle.loads(pickle.dumps(small))):
        with pytest.raises(
            prune_init.InputError, match=r"input=8: 4 for the example: the net decides by it; allowed: inputs of"
        ):
            net(torch.rand(2, 3, 16, 16, dtype=torch.float64))
        with pytest.raises(prune_init.InputError, match=r"input=True: False for the example"):
            net(torch.rand(2, 3, 8, 6, dtype=torch.float64))


def test_decisions_by_sizes_hold_in_compiled_nets_for_all_sizes_that_agree():
    forward = lambda m, x: m.fc((F.relu(m.a(x)) if x.shape[-1] % 4 == 0 else m.a(x)).mean((2, 3)))  # noqa: E731
    _, small = emptied(Forward(forward, a=nn.Conv2d(3, 8, 3, padding=1)), torch.empty(1, 3, 8, 8))
    compiled = torch.compile(small, backend="eager")
    for size in (8, 12, 16):  # from the second on, sizes are symbols
        x = torch.rand(2, 3, size, size, dtype=torch.float64)
        torch.testing.assert_close(compiled(x), small(x))
    with pytest.raises(prune_init.InputError, match="input=False: True for the example"):
        compiled(torch.rand(2, 3, 10, 10, dtype=torch.float64))


@pytest.mark.parametrize(
    ("forward", "what"),
    [
        (lambda m, x: m.fc(F.relu(m.a(x)) if x.shape[0] == 2 else m.a(x)), "the size of the batch"),
        (lambda m, x: m.fc(F.relu(m.a(x)) if x.sum() > 0 else m.a(x)), "values"),
        (lambda m, x: m.fc(torch.stack([F.relu(row) for row in m.a(x)])), "the size of the batch"),
    ],
)
def test_a_forward_that_decides_by_more_than_sizes_is_refused(forward, what):
    with pytest.raises(prune_init.InputError, match=rf"torch\.fx cannot trace it: its forward decides by {what}$"):
        prune_init.compact(Forward(forward), torch.empty(2, 6))


@pytest.mark.filterwarnings("ignore:the model's forward changes")
def test_a_buffer_that_forward_counts_in_and_one_that_it_slices():
    def forward(model, x):
        model.n += 1
        return model.fc(F.relu(model.a(x)) * model.mask[: x.shape[1] + 2])

    parts = {"n": nn.Buffer(torch.zeros(())), "mask": nn.Buffer(torch.rand(8))}
    model, small = emptied(Forward(forward, **parts), torch.empty(1, 6))
    assert_equal_while_called(model, small, (6,))


@dataclass
class Result:
    score: torch.Tensor
    hidden: list[torch.Tensor]


def test_a_net_that_returns_a_dataclass():
    model, small = emptied(Forward(lambda m, x: Result(m.fc(F.relu(m.a(x))), [x, 2 * x])), torch.empty(1, 6))
    assert small.a.out_features == 5
    x = torch.randn(4, 6, dtype=torch.float64)
    for net in (small, copy.deepcopy(small), pickle.loads(pickle.dumps(small))):
        assert isinstance(net(x), Result)
        torch.testing.assert_close(net(x).score, model(x).score)
        torch.testing.assert_close(net(x).hidden, model(x).hidden)


class OtherwiseInTraining(nn.Module):
    """Performs another operation in train mode, as layers that drop paths do."""

    def forward(self, x):
        return x * 2 + x.mean() if self.training else x


class Mixed(nn.Module):
    """Layers of its own between such operations."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(8, 8)

    def forward(self, x):
        y = F.relu(self.inner(x))
        return y.sin() + y if self.training else y


def test_modules_that_do_something_else_in_train_mode_stay_whole():
    parts = {"drop": OtherwiseInTraining(), "other": OtherwiseInTraining(), "b": nn.Linear(8, 8), "mixed": Mixed()}

    def forward(m, x):
        return m.fc(m.mixed(m.drop(F.relu(m.b(m.other(F.relu(m.a(x))))))))

    model = Forward(forward, **parts).double().eval()
    with torch.no_grad():
        for layer in (model.a, model.b):
            layer.weight[:3], layer.bias[:3] = 0, 0
    with pytest.warns(UserWarning, match="does not shrink them: Mixed, OtherwiseInTraining"):
        small = prune_init.compact(model, torch.empty(1, 6))
    assert small.a.out_features == 5 and small.mixed.inner.out_features == 8
    assert_equal_while_called(model, small, (6,))
    net = Forward(lambda m, x: m.fc(F.relu(m.a(x)) if m.training else m.a(x)))
    with pytest.raises(prune_init.InputError, match="performs different operations in train and eval mode"):
        prune_init.compact(net, torch.empty(1, 6))


UPWARD = {
    "doubled": (nn.ConvTranspose2d(8, 6, 2, stride=2), (3, 4, 4)),
    "padded": (nn.ConvTranspose2d(8, 6, 3, stride=2, padding=1, output_padding=1), (3, 5, 4)),
    "dilated, no bias": (nn.ConvTranspose2d(8, 6, 3, dilation=2, bias=False), (3, 4, 4)),
    "one axis": (nn.ConvTranspose1d(8, 6, 4, stride=3), (3, 5)),
    "in groups": (nn.ConvTranspose2d(8, 6, 2, groups=2), (3, 4, 4)),
}


@pytest.mark.parametrize("name", UPWARD)
def test_transposed_convolutions_lose_channels_on_both_sides(name):
    up, shape = UPWARD[name]
    torch.manual_seed(0)
    kinds = (nn.Conv2d, nn.BatchNorm2d) if len(shape) == 3 else (nn.Conv1d, nn.BatchNorm1d)
    first, norm, last = kinds[0](3, 8, 3, padding=1), kinds[1](6), kinds[0](6, 2, 1)
    model = nn.Sequential(first, nn.ReLU(), copy.deepcopy(up), norm, nn.ReLU(), last).double()
    with torch.no_grad():
        first.weight[:3], first.bias[:3], norm.bias[:] = 0, 0, 0
        last.weight[:, 4:] = 0  # the last two channels are not read
    masks = {name: weight != 0 for name, weight in prunable(model).items()}
    small = prune_init.compact(model, torch.empty(1, *shape), masks=masks)
    grouped = up.groups > 1
    assert (small.get_submodule("2").in_channels, small.get_submodule("2").out_channels) == (
        (8, 6) if grouped else (5, 4)
    )
    assert_equal_while_called(model, small, shape)
    assert all(torch.equal(a, b) for a, b in zip(expand(small, model).parameters(), model.parameters(), strict=True))


class Standardised(nn.Linear):
    def __call__(self, x):
        return F.linear(x, self.weight - self.weight.mean(), self.bias)


class Causal(nn.Conv1d):
    def _conv_forward(self, x, weight, bias):
        return super()._conv_forward(F.pad(x, (2, 0)), weight, bias)


def patched(layer, forward):
    layer.forward = types.MethodType(forward, layer)
    return layer


OWN = [
    (nn.Sequential(nn.Linear(6, 8), nn.ReLU(), Standardised(8, 3)), (6,)),
    (nn.Sequential(nn.Conv1d(3, 8, 3), nn.ReLU(), Causal(8, 4, 3)), (3, 9)),
    (nn.Sequential(nn.Linear(6, 8), nn.ReLU(), patched(nn.Linear(8, 3), lambda self, x: F.relu(x) + 1)), (6,)),
    (nn.Sequential(nn.Linear(6, 8), patched(nn.ReLU(), lambda self, x: F.relu(x) + 0.3), nn.Linear(8, 3)), (6,)),
]


@pytest.mark.parametrize(("model", "shape"), OWN)
def test_layers_that_compute_something_of_their_own_are_followed(model, shape):
    assert_equal_while_called(*emptied(model, torch.empty(1, *shape)), shape)


def test_tensors_tied_to_a_part_of_a_larger_module_stay_tied():
    def forward(model, x):
        h = F.relu(model.a(x))
        return model.fc(F.relu(model.o(h)) + model.heads(h, h, h)[0])

    model = Forward(forward)
    model.heads, model.o = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 8)
    model.heads.out_proj.weight = model.o.weight
    model.o.weight.data[:, 3] = 0
    model, small = emptied(model, torch.empty(1, 5, 6))
    assert small.get_parameter("o.weight") is small.get_parameter("heads.out_proj.weight")
    assert prunable(small).keys() <= small.compaction.masks.keys()
    assert not any(small.get_parameter(name)[~mask].any() for name, mask in small.compaction.masks.items())


@torch.no_grad()
def frozen(model, x):
    return F.relu(model.a(x)), (model.norm(model.a(x)), x.shape[0])


def partly_frozen(model, x):
    h, (other, size) = frozen(model, x)
    with torch.no_grad():
        part = h.chunk(2, 1)
    with torch.set_grad_enabled(model.training):  # the gradients of train mode count
        h = model.b(h)
    return model.fc(F.relu_(h) + h + other * size + torch.cat([part[0], part[1]], 1))


class Frozen(nn.BatchNorm1d):
    def train(self, mode=True):
        return super().train(False)


class PartlyFrozen(Forward):
    def train(self, mode=True):
        super().train(mode)
        self.norm.eval()
        return self


@pytest.mark.parametrize(("kind", "norm"), [(Forward, Frozen(8)), (PartlyFrozen, nn.BatchNorm1d(8))])
def test_norms_that_stay_in_eval_mode(kind, norm):
    model = kind(lambda m, x: m.fc(F.dropout(F.relu(m.norm(m.a(x))), 0.0, m.training)), norm=norm)
    model, small = emptied(model, torch.empty(1, 6))
    assert_equal_while_called(model, small, (6,))
    again = copy.deepcopy(pickle.loads(pickle.dumps(small))).train()
    assert again.training and not again.get_submodule("norm").training


def test_what_is_computed_without_gradients_gets_none():
    model = Forward(partly_frozen, b=nn.Linear(8, 8)).double()
    masks, x = random_masks(model, torch.Generator().manual_seed(0)), torch.randn(5, 6, dtype=torch.float64)
    small = compacted(model, x, masks=masks)
    assert_same(model, small, x, masks, mode=True)
    small.train()(x).sum().backward()
    assert small.get_parameter("a.weight").grad is None and small.get_parameter("b.weight").grad.any()


def counted(model, x):
    model.n += 1
    return model.fc(F.relu(model.a(x)) * min(1.0, float(model.n) / 10))


def drawn_branch(model, x):
    return model.fc(F.relu(model.a(x)) * (2.0 if torch.rand(()) < 0.5 else 1.0))


REFUSED = {
    "a counter": (counted, 0),
    "a counting buffer": (counted, nn.Buffer(torch.zeros(()))),
    "a frozen draw": (lambda m, x: m.fc(F.relu(m.a(x)) + 0.1 * torch.randn(1, 8).to(x)), 0),
    "a frozen draw beside dropout": (
        lambda m, x: m.fc(F.dropout(F.relu(m.a(x)), 0.5, m.training) + 0.1 * torch.randn(1, 8).to(x)), 0
    ),
    "a frozen branch": (drawn_branch, 0),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:the model's forward changes n")
@pytest.mark.parametrize("name", REFUSED)
def test_what_tracing_freezes_is_refused_and_the_random_state_stays(name):
    forward, n = REFUSED[name]
    model = dead_rows(Forward(forward, n=n))
    states = random.getstate(), torch.get_rng_state()
    with pytest.raises(prune_init.InputError, match=r"in \w+ mode .* without compaction$|in train and eval mode$"):
        compacted(model, torch.empty(1, 6))
    assert states[0] == random.getstate() and torch.equal(states[1], torch.get_rng_state())


def test_state_that_does_not_matter_is_said():
    def forward(model, x):
        model.n += 1
        return model.fc(F.relu(model.a(x)))

    with pytest.warns(UserWarning, match="forward changes n, and"):
        model, small = emptied(Forward(forward, n=nn.Buffer(torch.zeros(()))), torch.empty(1, 6))
    assert model.n == 0
    assert_equal_while_called(model, small, (6,))


def test_autocast_inside_forward_is_said():
    @torch.autocast("cpu", torch.bfloat16)
    def forward(model, x):
        return model.fc(F.relu(model.a(x)))

    model = dead_rows(Forward(forward)).float()
    with pytest.warns(UserWarning, match="autocast on or off, and the compact net's does not") as told:
        small = compacted(model, torch.empty(1, 6))
    assert told[0].filename == __file__ and small(torch.randn(2, 6)).dtype == torch.float32


def test_dropout_and_new_draws_pass_the_check():
    model = Forward(lambda m, x: m.fc(m.drop(F.relu(m.a(x))) + torch.rand_like(x[:, :1])), drop=nn.Dropout(0.3))
    _, small = emptied(model, torch.empty(1, 6))
    assert small.get_submodule("a").out_features == 5


@pytest.mark.parametrize("forward", [
    lambda m, x: m.fc(torch.cat(tensors=[F.relu(m.a(x))[:, :4], F.relu(m.a(x))], dim=1)[:, :8]),
    lambda m, x: m.fc(m.a(x).relu() * m.scale.float()),
    lambda m, x: m.fc(m.a(x)[:, :, None, None].relu().squeeze()),
])  # fmt: skip
def test_unusual_calls_and_dtypes(forward):
    model = Forward(forward)
    model.scale = nn.Parameter(torch.ones(8).bfloat16())
    model = dead_rows(model).float()
    model.scale.data = model.scale.data.bfloat16()
    x = torch.randn(3, 6)
    small = compacted(model, x)
    for size in (1, 3):
        torch.testing.assert_close(small(x[:size]), model(x[:size]))


def test_sums_of_tensors_of_different_dtypes():
    model = Forward(lambda m, x: m.fc((h := F.relu(m.a(x))) * m.scale + m.b(h).float()), b=nn.Linear(8, 8, bias=False))
    model.scale, model.b.weight.data[5:] = nn.Parameter(torch.ones(8)), 0
    model, small = emptied(model, torch.empty(1, 6))
    x = torch.randn(3, 6, dtype=torch.float64)
    torch.testing.assert_close(small(x), model(x))
    with torch.autocast("cpu", torch.bfloat16):
        assert small.float()(x.float()).dtype == model.float()(x.float()).dtype


COMPUTED = {
    "weight norm": nn.utils.weight_norm,
    "spectral norm": nn.utils.spectral_norm,
    "torch's masks": lambda layer: random_unstructured(layer, "weight", 0.5),
}


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
@pytest.mark.parametrize("name", COMPUTED)
def test_nets_that_hold_a_computed_tensor(name):
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 5), nn.ReLU(), COMPUTED[name](nn.Linear(5, 3)))
    model = dead_rows(model)
    model(torch.randn(2, 6, dtype=torch.float64))
    small = compacted(model, torch.empty(1, 6))
    assert small.get_submodule("0").out_features == 5
    assert_equal_while_called(model, small, (6,))


def test_nets_that_cannot_be_copied_are_refused_in_one_line():
    model = Forward(lambda m, x: m.fc(F.relu(m.a(x))), lock=threading.Lock())
    with pytest.raises(prune_init.InputError, match=r"cannot be copied: cannot pickle '_thread.lock' .* attributes of"):
        compacted(model, torch.empty(1, 6))


def test_whole_numbers_are_taken_from_the_example(tmp_path):
    model = nn.Sequential(nn.Embedding(5, 6), nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    _, small = emptied(model, torch.tensor([[1, 4]]))
    assert small.get_submodule("1").out_features == 5
    assert save_program(small, torch.tensor([[1, 4]]), tmp_path / "net.pt2") < 1e-10
