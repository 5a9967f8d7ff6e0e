"""Paths from input to output, compared with an independent search over channels."""

import itertools

import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

import prune_init
from prune_init.architectures.resnet import thin_resnet
from prune_init.pruning.paths.effective_weights import effective_weights


def effective_in_chain(masks: list[torch.Tensor]) -> list[torch.Tensor]:
    """Find weights on a path by search: they join a unit reached from the input to one that reaches the output."""
    from_input = [torch.ones(masks[0].shape[1], dtype=torch.bool)]
    for mask in masks:
        from_input.append((mask & from_input[-1][None, :]).any(1))
    to_output = [torch.ones(masks[-1].shape[0], dtype=torch.bool)]
    for mask in reversed(masks):
        to_output.append((mask & to_output[-1][:, None]).any(0))
    to_output.reverse()
    return [m & a[None, :] & b[:, None] for m, a, b in zip(masks, from_input, to_output[1:], strict=False)]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.05, 0.6), st.lists(st.integers(1, 6), min_size=3, max_size=5))
def test_dense_nets_match_a_search(seed, density, widths):
    generator = torch.Generator().manual_seed(seed)
    layers = [nn.Linear(a, b) for a, b in itertools.pairwise(widths)]
    model = nn.Sequential(*[m for layer in layers for m in (layer, nn.ReLU())])
    masks = [torch.rand(layer.weight.shape, generator=generator) < density for layer in layers]
    named = {f"{2 * i}.weight": m for i, m in enumerate(masks)}
    found = effective_weights(model, named, torch.empty(1, widths[0]))
    for one, other in zip(found.values(), effective_in_chain(masks), strict=True):
        assert torch.equal(one, other)


class Residual(nn.Module):
    """A net with two joins, a shortcut with weights, a concatenation, a grouped and a depthwise convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.branch = nn.Conv2d(4, 4, 3, padding=1, groups=2)
        self.shortcut = nn.Conv2d(4, 4, 1)
        self.depthwise = nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.head = nn.Linear(8, 2)

    def forward(self, x):
        x = F.relu(self.stem(x))
        x = F.relu(self.branch(x) + self.shortcut(x))
        y = torch.cat([x, F.relu_(self.depthwise(x))], dim=1)
        return self.head(y.mean((2, 3)))


def ones(model):
    return {name: torch.ones_like(p, dtype=torch.bool) for name, p in model.named_parameters() if p.ndim > 1}


def test_a_residual_join_keeps_what_either_branch_feeds():
    model = Residual()
    masks = ones(model)
    assert all(m.all() for m in effective_weights(model, masks, torch.empty(1, 1, 5, 5)).values())
    masks["shortcut.weight"][:] = False  # paths still go through the branch
    found = effective_weights(model, masks, torch.empty(1, 1, 5, 5))
    assert all(found[name].all() for name in masks if name != "shortcut.weight")
    masks["branch.weight"][:2] = False  # joined channels 0 and 1 are dead, so stem 0 and 1 (group 0) are unread
    found = effective_weights(model, masks, torch.empty(1, 1, 5, 5))
    assert [int(found["stem.weight"][c].sum()) for c in range(4)] == [0, 0, 9, 9]
    assert [int(found["depthwise.weight"][c].sum()) for c in range(4)] == [0, 0, 9, 9]
    assert found["head.weight"][0].tolist() == [False, False, True, True, False, False, True, True]


def test_the_cut_net_is_not_connected():
    model = Residual()
    with torch.no_grad():
        model.head.weight.zero_()
    found = prune_init.connectivity(model, torch.empty(1, 1, 5, 5))
    assert found.connected is False and found.effective_sparsity == 1
    assert [layer.effective for layer in found.layers] == [0, 0, 0, 0, 0]
    assert found.sparsity == pytest.approx(16 / (36 + 72 + 16 + 36 + 16))


def test_taps_that_only_see_padding_are_on_no_path():
    model = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1, bias=False))
    found = prune_init.connectivity(model, torch.empty(1, 1, 1, 1))
    assert found.layers[0].kept == 9 and found.layers[0].effective == 1
    assert prune_init.connectivity(model, torch.empty(1, 1, 2, 2)).layers[0].effective == 9


@pytest.mark.parametrize("name", ["resnet18", "densenet121", "mobilenet_v2", "squeezenet1_0", "googlenet"])
def test_dense_torchvision_nets_are_wholly_connected(name):
    options = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
    model = torchvision.models.get_model(name, num_classes=10, **options).eval()
    found = effective_weights(model, {}, torch.empty(1, 3, 64, 64))
    assert found == {}
    masks = ones(model)
    found = effective_weights(model, masks, torch.empty(1, 3, 64, 64))
    assert all(bool(found[n].flatten(2).any(2).all() if found[n].ndim > 2 else found[n].all()) for n in found)


def test_a_batch_norm_is_read_in_either_order_of_its_arguments():
    class Normed(nn.Module):
        def __init__(self, function, *order):
            super().__init__()
            torch.manual_seed(0)
            self.first, self.norm, self.last = nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Conv2d(2, 1, 1)
            nn.init.normal_(self.norm.bias)
            self.function, self.order = function, order

        def forward(self, x):
            given = [getattr(self.norm, name) for name in self.order]
            return self.last(self.function(self.first(x), *given, False, 0.1, 1e-5, False))

    statistics, own, x = ("running_mean", "running_var"), ("weight", "bias"), torch.rand(1, 1, 4, 4)

    def named(*args):
        return torch.batch_norm(*args[:5], training=args[5], momentum=args[6], eps=args[7], cudnn_enabled=args[8])

    nets = [Normed(lambda *a: F.batch_norm(*a[:-1]), *statistics, *own)]
    nets += [Normed(function, *own, *statistics) for function in (torch.batch_norm, named)]
    sums = [prune_init.conservation(net, x).neurons for net in nets]
    for net in nets:
        assert [row.effective for row in prune_init.connectivity(net, x).layers] == [2, 2]
    for one, *others in zip(*sums, strict=True):
        for other in others:
            torch.testing.assert_close(one.incoming, other.incoming)
            torch.testing.assert_close(one.outgoing, other.outgoing)


def test_eps_is_no_bias_of_a_norm_of_weights():
    class Normed(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.scale = nn.Parameter(torch.ones(2, 4)), nn.Parameter(torch.ones(4))
            self.out = nn.Linear(2, 2)

        def forward(self, x):
            return self.out(F.linear(x, torch.rms_norm(self.weight, (4,), self.scale, 1e-5)))

    masks = {"weight": torch.zeros(2, 4, dtype=torch.bool), "out.weight": torch.ones(2, 2, dtype=torch.bool)}
    found = effective_weights(Normed(), masks, torch.ones(1, 4))
    assert not any(mask.any() for mask in found.values())


class Inexact(TorchDispatchMode):
    """Convolutions that give small numbers in place of exact zeros, as by FFT or Winograd."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        if "convolution" not in func.__name__:
            return made
        return tree_map(lambda x: x + 1e-4 * torch.rand_like(x) if isinstance(x, torch.Tensor) else x, made)


def test_a_path_is_no_matter_of_rounding():
    model = thin_resnet(8, 4, (3, 16, 16), width=4)
    masks = prune_init.prune(model, "random", 0.8, generator=torch.Generator().manual_seed(0)).masks
    expected = effective_weights(model, masks, x := torch.empty(1, 3, 16, 16))
    assert 0 < sum(int(mask.sum()) for mask in expected.values()) < sum(int(mask.sum()) for mask in masks.values())
    with Inexact():
        assert F.conv2d(torch.zeros(1, 1, 3, 3), torch.ones(1, 1, 3, 3)).item() > 0
        found = effective_weights(model, masks, x)
    assert all(torch.equal(found[name], mask) for name, mask in expected.items())


def test_complex_weights_are_refused():
    with pytest.raises(prune_init.InputError, match=r"model=0\.weight: is torch\.complex64 on cpu; allowed: real"):
        prune_init.connectivity(nn.Sequential(nn.Linear(2, 2, dtype=torch.complex64)), torch.ones(1, 2))


class TwoLayers(nn.Module):
    """Two layers of which `use(net, x)` makes the output."""

    def __init__(self, use):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.use = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False), use

    def forward(self, x):
        return self.use(self, x)


def rows(net, x):
    return net.a(x), net.b(x)


INDEX = torch.arange(4)
NOT_READ = {
    "add": lambda net, x: torch.add(*rows(net, x), alpha=0),
    "keywords": lambda net, x: torch.add(net.a(x), other=net.b(x), alpha=0.0),
    "sub": lambda net, x: net.a(x).sub_(net.b(x), alpha=0),
    "rsub": lambda net, x: torch.rsub(net.b(x), net.a(x), alpha=0),
    "weights": lambda net, x: F.linear(x, torch.add(net.a.weight, net.b.weight, alpha=0)),
    "lerp 0": lambda net, x: torch.lerp(*rows(net, x), 0.0),
    "lerp 1": lambda net, x: net.b(x).lerp(net.a(x), 1),
    "index_add": lambda net, x: net.a(x).index_add(1, INDEX, net.b(x), alpha=0),
    "quotient": lambda net, x: net.a(x) + torch.zeros(4) / net.b(x),
    "attention": lambda net, x: F.scaled_dot_product_attention(net.b(x)[:, None], net.b(x)[:, None], net.a(x)[:, None]),
    "causal": lambda net, x: F.scaled_dot_product_attention(
        torch.stack([net.b(x), 0 * x], 1), torch.ones(1, 2, 4), torch.stack([net.a(x), 0 * x], 1), is_causal=True
    ),
}
READ = {
    "add": lambda net, x: torch.add(*rows(net, x), alpha=0.5),
    "lerp": lambda net, x: torch.lerp(*rows(net, x), 0.5),
    "index_add": lambda net, x: net.a(x).index_add(1, INDEX, net.b(x)),
    "divisor of weights": lambda net, x: F.linear(x, net.a.weight / (1 + net.b.weight.exp())),
    "inverse": lambda net, x: net.a(F.linear(x, 1 / (1 + net.b.weight.exp()))),
    "divisor of a path": lambda net, x: net.a(x).unsqueeze(-1) / net.b.weight,
    "weight norm of another": lambda net, x: F.linear(x, net.a.weight / net.b.weight.norm(dim=1)),
    "dividend": lambda net, x: net.b.weight / (1 + net.a(x).unsqueeze(-1)),
    "gate": lambda net, x: F.linear(x, F.glu(torch.cat([net.a.weight, net.b.weight], 1))),
    "attention": lambda net, x: F.scaled_dot_product_attention(
        net.b(x).unsqueeze(-1), net.b(x).unsqueeze(-1), net.a(x).unsqueeze(-1)
    ),
}


@pytest.mark.parametrize("name", NOT_READ)
def test_what_is_multiplied_by_0_is_on_no_path(name):
    found = prune_init.connectivity(TwoLayers(NOT_READ[name]), torch.ones(1, 4)).layers
    assert [layer.effective for layer in found] == [16, 0]


@pytest.mark.parametrize("name", READ)
def test_every_operand_that_moves_the_output_is_on_a_path(name):
    net = TwoLayers(READ[name])
    assert [layer.effective for layer in prune_init.connectivity(net, torch.ones(1, 4)).layers] == [16, 16]
    with torch.no_grad():
        net.a.weight[0] = 0
        net.b.weight[:, 1] = 0
    masks = {"a.weight": net.a.weight != 0, "b.weight": net.b.weight != 0}
    for name, moved in effective_weights(net, masks, x := torch.rand(1, 4)).items():
        weight = net.get_parameter(name)
        (gradient,) = torch.autograd.grad((net(x + 1) - net(x)).square().sum(), weight)
        assert not (gradient[masks[name]] != 0)[~moved[masks[name]]].any()
