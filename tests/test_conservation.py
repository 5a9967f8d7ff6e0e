"""The conservation laws of w dR/dw: nets that obey them, nets that do not, and no side effects of the check."""

import copy
from contextlib import nullcontext

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm, weight_norm
from torch.nn.utils.prune import ln_structured, random_unstructured

import prune_init
from prune_init.analysis.conservation import main
from prune_init.architectures.resnet import thin_resnet
from prune_init.architectures.vgg import vgg
from prune_init.errors import InputError
from prune_init.flow import layer_flow
from prune_init.pruning.structures import outputs
from prune_init.tracing.nodes import is_layer

X = torch.randn(4, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


class Sum(nn.Module):
    """The sum of its branches."""

    def __init__(self, *branches):
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x):
        return sum(branch(x) for branch in self.branches[1:]) + self.branches[0](x)


class Concatenation(Sum):
    def forward(self, x):
        return torch.cat([branch(x) for branch in self.branches], 1)


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Shift(nn.Module):
    """A bias and a constant scale outside of any layer, as in a frozen batch norm."""

    def __init__(self, channels):
        super().__init__()
        self.shift = nn.Parameter(torch.randn(channels, 1, 1))
        self.register_buffer("scale", torch.rand(channels, 1, 1))

    def forward(self, x):
        return x * self.scale + self.shift


class Functional(nn.Module):
    """Functional layers: a norm subclass with its own forward, and weights that are computed in the forward pass."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 2, 3, 3))
        self.norm = nn.BatchNorm2d(4)
        self.up = nn.Parameter(torch.randn(4, 6, 2, 2))
        self.mix = nn.Parameter(torch.randn(3, 16))

    def forward(self, x):
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        x = F.conv2d(x, weight, self.up[:, 0, 0, 0], padding=1, groups=2)
        norm = self.norm
        batch = norm.training
        x = F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, batch, 0.1, norm.eps)
        return F.linear(F.conv_transpose2d(F.relu(x), self.up, stride=2), self.mix)


class Twice(nn.Module):
    """A net that uses one layer twice."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(F.relu(self.layer(x)))


class Overwritten(nn.Module):
    """A sum whose terms are both relu(x), since ReLU works in place."""

    def forward(self, x):
        return F.relu(x, inplace=True) + x * 2


def conv(wide_in, wide_out, **options):
    return nn.Conv2d(wide_in, wide_out, 3, **{"padding": 1, **options})


def branch(wide):
    return nn.Sequential(conv(wide, 5), nn.BatchNorm2d(5), nn.ReLU(), conv(5, wide, bias=False), nn.BatchNorm2d(wide))


def shuffle(x):
    n, c, h, w = x.shape
    return x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


NETS = {
    "dense": lambda: [nn.Flatten(), nn.Linear(192, 9), nn.LeakyReLU(0.2), nn.Linear(9, 7, bias=False), nn.ReLU()],
    "biased": lambda: [conv(3, 6), nn.ReLU(inplace=True), conv(6, 4, stride=2), nn.ReLU(), nn.Flatten()],
    "norm": lambda: [conv(3, 6), nn.BatchNorm2d(6), nn.ReLU(), conv(6, 4), nn.BatchNorm2d(4, affine=False)],
    "decides by sizes": lambda: [conv(3, 6), Function(lambda x: F.relu(x) if len(x.shape) == 4 else x.shape[3])],
    "norm over processes": lambda: [conv(3, 6), nn.SyncBatchNorm(6), nn.ReLU()],
    "norm without statistics": lambda: [conv(3, 6), nn.BatchNorm2d(6, track_running_stats=False), nn.ReLU()],
    "residual from the input": lambda: [Sum(branch(3), nn.Identity()), nn.ReLU()],
    "pooled": lambda: [
        conv(3, 6),
        nn.MaxPool2d(3, 2, 1),
        conv(6, 6),
        nn.AvgPool2d(2),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
    ],
    "mean": lambda: [conv(3, 6), nn.ReLU(), Function(lambda x: x.mean([2, 3])), nn.Linear(6, 6)],
    "mean of tokens": lambda: [nn.Flatten(2), nn.Linear(64, 5), Function(lambda x: x.mean(1)), nn.Linear(5, 5)],
    "grouped": lambda: [conv(3, 6), nn.ReLU(), conv(6, 4, groups=2), conv(4, 4, groups=4), nn.BatchNorm2d(4)],
    "shuffled": lambda: [conv(3, 6, groups=3), Function(shuffle), conv(6, 6, groups=2), nn.ReLU(), nn.PixelShuffle(1)],
    "split": lambda: [conv(3, 6), Function(lambda x: x.chunk(2, 1)[0] + x[:, 3:]), conv(3, 4)],
    "transposed": lambda: [conv(3, 4), nn.ReLU(), nn.ConvTranspose2d(4, 6, 2, 2, groups=2), nn.ReLU(), conv(6, 4)],
    "padded": lambda: [nn.ZeroPad2d(1), conv(3, 4), nn.ReLU(), nn.ZeroPad2d(2), conv(4, 4, padding_mode="reflect")],
    "padded with -inf": lambda: [conv(3, 4), nn.ConstantPad2d(1, -torch.inf), nn.MaxPool2d(3, 2), conv(4, 4)],
    "mixed": lambda: [conv(3, 4), Function(lambda x: x - x.mean(1, keepdim=True)), conv(4, 4)],
    "dropped": lambda: [conv(3, 6), nn.Dropout(0.4), nn.ReLU(), nn.Dropout2d(0.2), conv(6, 4)],
    "shift": lambda: [conv(3, 4), nn.ReLU(), Shift(4), nn.ReLU(), conv(4, 4)],
    "constant channel": lambda: [conv(3, 4), Function(lambda x: torch.cat([x, torch.ones(4, 1, 8, 8)], 1)), conv(5, 4)],
    "shared": lambda: [conv(3, 4), Twice(conv(4, 4)), nn.ReLU()],
    "functional": lambda: [conv(3, 4), Functional(), nn.ReLU(), conv(6, 4)],
    "overwritten": lambda: [conv(3, 4), Overwritten(), conv(4, 4)],
    "tied": lambda: tied(),
    "alias": lambda: [conv(3, 4), Alias(nn.ReLU(inplace=True), conv(4, 4)), conv(4, 4)],
    "dropout alias": lambda: [conv(3, 4), Function(dropped_alias), conv(4, 4)],
    "augmented": lambda: [conv(3, 4), Function(augmented), conv(4, 4)],
    "like another": lambda: [conv(3, 4), Function(lambda x: torch.maximum(x - ONE.to(x), ONE.expand_as(x) * 0))],
    "masked": lambda: [conv(3, 4), Function(lambda x: x * (x > 0).float() / ONE.to(x.device, x.dtype)), conv(4, 4)],
    "named tuples": lambda: [conv(3, 4), Function(lambda x: x.max(2).values.topk(2, 2).values), nn.Linear(2, 3)],
    "chosen": lambda: [conv(3, 4), Function(lambda x: x[torch.arange(4), x.mean((2, 3)).argmax(1)]), nn.Linear(8, 3)],
    "max over channels": lambda: [conv(3, 8), Function(lambda x: F.max_pool3d(x, (3, 1, 1), 1, (1, 0, 0))), conv(8, 4)],
    "fewer channels": lambda: [conv(3, 8), Function(lambda x: F.max_pool3d(x, (2, 1, 1))), conv(4, 4)],
    "mean over features": lambda: [nn.Flatten(), nn.Linear(192, 8), nn.AvgPool1d(3, 1, 1), nn.Linear(8, 5)],
    "token": lambda: [nn.Flatten(2), nn.Linear(64, 6), Token(6), nn.Linear(6, 5)],
    "fourier": lambda: [conv(3, 4), Function(lambda x: torch.fft.irfft2(torch.fft.rfft2(x))), conv(4, 4)],
    "weight norm": lambda: [weight_norm(conv(3, 4, padding_mode="circular")), nn.ReLU(), weight_norm(conv(4, 4))],
    "spectral norm": lambda: [conv(3, 4), spectral_norm(nn.ConvTranspose2d(4, 6, 2, groups=2)), nn.ReLU(), conv(6, 4)],
    "output size": lambda: [conv(3, 4, stride=2), nn.ReLU(), Doubled(4, 6, 3, 2, 1), conv(6, 4)],
    "noise": lambda: [conv(3, 4), Function(lambda x: x * torch.rand_like(x) + torch.randn_like(x) / 9), conv(4, 4)],
    "addmm": lambda: [nn.Flatten(), nn.Linear(192, 8), Product(8, 5), nn.Linear(5, 5)],
}


ONE = torch.rand(4, 1, 1, generator=torch.Generator().manual_seed(2), dtype=torch.float64) + 1


def dropped_alias(x):
    y = F.dropout(x, 0.0)
    return F.relu(x, True) * 0.5 + y


def augmented(x):
    y = x
    x *= 0.5
    return F.relu(x) - y


class Alias(nn.Module):
    """A residual block whose shortcut is the tensor that its branch overwrites."""

    def __init__(self, *branch):
        super().__init__()
        self.branch, self.shortcut = nn.Sequential(*branch), nn.Identity()

    def forward(self, x):
        y = self.shortcut(x)
        return self.branch(x) + y


class Token(nn.Module):
    """A learned token before the others, as in a vision transformer."""

    def __init__(self, width):
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, width))

    def forward(self, x, mask=None):
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1)
        return F.relu(x if mask is None else x * mask)


class Doubled(nn.Module):
    """Upsampling to a size that is given with each call, as in a U-net."""

    def __init__(self, *sizes):
        super().__init__()
        self.up = nn.ConvTranspose2d(*sizes)

    def forward(self, x):
        return self.up(input=x, output_size=[8, 8])


class Product(nn.Linear):
    def forward(self, x):
        return torch.addmm(self.bias, x, self.weight.t(), beta=0.5, alpha=2)


def tied():
    first, second = conv(4, 4), conv(4, 4)
    second.weight = first.weight
    return [conv(3, 4), nn.ReLU(), first, nn.ReLU(), second]


def net(name, seed=0):
    """A net of NETS with a linear classifier; norm statistics and parameters differ from their initial values."""
    torch.manual_seed(seed)
    model = nn.Sequential(*NETS[name](), nn.Flatten()).double()
    model.append(nn.Linear(model(X).shape[1], 5).double())
    return moved(model)


def moved(model):
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            if module.affine:
                nn.init.normal_(module.weight)
                nn.init.normal_(module.bias)
            if module.track_running_stats:
                nn.init.normal_(module.running_mean)
                nn.init.uniform_(module.running_var, 0.5, 2)
    return model


def trained(model, x, steps=3):
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(model(x), torch.arange(len(x)) % 5).backward()
        optimizer.step()
    return model


def random_objective(seed):
    weights = torch.randn(5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return lambda y: (torch.tanh(y @ weights) * y.square()).sum() + y[0, 0]


def cross_entropy(y):
    return F.cross_entropy(y, torch.arange(len(y)) % 5)


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("name", NETS)
def test_homogeneous_nets_obey_both_theorems(name, mode):
    model = net(name)
    if name != "noise" and (name, mode) != ("dropped", "train"):  # where each pass draws anew
        expected = float(copy.deepcopy(model).train(mode == "train")(X.clone()).detach().sum())
        assert prune_init.conservation(model, X, mode=mode).output == pytest.approx(expected, rel=1e-10)
    for _ in range(2):
        for objective in (None, cross_entropy, random_objective(3)):
            result = prune_init.conservation(model, X, objective=objective, mode=mode)
            assert result.holds(1e-10), result.max_residual
            assert result.broken == {}
        model = trained(model, X)


# The blocks of random nets; each keeps the number of channels, four.
BLOCKS = {
    "conv": lambda: conv(4, 4),
    "depthwise": lambda: conv(4, 4, groups=4, bias=False),
    "norm": lambda: nn.BatchNorm2d(4),
    "relu": lambda: nn.ReLU(),
    "leaky": lambda: nn.LeakyReLU(0.1),
    "max": lambda: nn.MaxPool2d(3, 1, 1),
    "average": lambda: nn.AvgPool2d(3, 1, 1),
    "residual": lambda: Sum(nn.Sequential(nn.ReLU(), branch(4)), nn.Identity()),
    "projected": lambda: Sum(conv(4, 4), nn.Sequential(conv(4, 4), nn.BatchNorm2d(4))),
    "concatenated": lambda: nn.Sequential(Concatenation(conv(4, 2), nn.Identity()), conv(6, 4)),
    "nested": lambda: Sum(Sum(conv(4, 4), nn.Identity()), nn.ReLU()),
}


@settings(max_examples=25, deadline=None)
@given(
    blocks=st.lists(st.sampled_from(sorted(BLOCKS)), min_size=1, max_size=5),
    seed=st.integers(0, 10**6),
    mode=st.sampled_from(["eval", "train"]),
    steps=st.integers(0, 2),
)
def test_drawn_nets_obey_both_theorems(blocks, seed, mode, steps):
    torch.manual_seed(seed)
    body = [conv(3, 4), *(BLOCKS[block]() for block in blocks)]
    model = moved(nn.Sequential(*body, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 5)).double())
    x = torch.randn(4, 3, 6, 6, dtype=torch.float64)
    result = prune_init.conservation(trained(model, x, steps), x, objective=random_objective(seed), mode=mode)
    assert result.holds(1e-10), result.max_residual
    assert result.broken == {}
    assert len(result.cuts) == sum(is_layer(module) for module in model.modules())


def products(model, x, objective=torch.sum):
    """w dR/dw computed by autograd alone, in float64."""
    model = copy.deepcopy(model).double()
    objective(model(x.double())).backward()
    return {name: (w * w.grad).detach() for name, w in model.named_parameters()}, model


def test_sums_are_those_of_autograd():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    x = torch.randn(7, 4)
    wg, _ = products(model, x)
    result = prune_init.conservation(model, x)
    first, second, last = result.neurons
    torch.testing.assert_close(first.incoming, wg["0.weight"].sum(1) + wg["0.bias"])
    torch.testing.assert_close(first.outgoing, wg["2.weight"].sum(0))
    torch.testing.assert_close(second.outgoing, wg["4.weight"].sum(0))
    torch.testing.assert_close(last.outgoing, (model.double()(x.double())).sum(0).detach())
    assert (second.writers, second.readers, last.readers) == (("2",), ("4",), ("output",))
    for layer, cut in zip((0, 2, 4), result.cuts, strict=True):
        biases = sum(wg[f"{i}.bias"].sum() for i in (0, 2, 4) if i >= layer)
        assert cut.weights == pytest.approx(float(wg[f"{layer}.weight"].sum()), abs=1e-12)
        assert cut.biases == pytest.approx(float(biases), abs=1e-12)
        assert cut.layers == (str(layer),)
        assert cut.shortcuts == ()


def masked(layer):
    return random_unstructured(ln_structured(layer, "weight", 0.5, 2, 0), "bias", 2)


@pytest.mark.parametrize("computed", [weight_norm, spectral_norm, nn.utils.weight_norm, nn.utils.spectral_norm, masked])
@pytest.mark.parametrize("mode", ["eval", "train"])
def test_a_computed_weight_counts_as_it_is_used(computed, mode):
    torch.manual_seed(0)
    model = nn.Sequential(computed(nn.Linear(4, 6)), nn.ReLU(), computed(nn.Linear(6, 3))).train(mode == "train")
    result = prune_init.conservation(model, X[:, 0, 0, :4], mode=mode)
    model(X[:, 0, 0, :4].float())  # as spectral norm updates its estimate in train mode
    model.eval()
    plain = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    for i in (0, 2):
        nn.utils.vector_to_parameters(torch.cat([model[i].weight.flatten(), model[i].bias]), plain[i].parameters())
    expected = prune_init.conservation(plain, X[:, 0, 0, :4])
    assert result.holds() and not result.broken
    for found, row in zip(result.neurons, expected.neurons, strict=True):
        torch.testing.assert_close(found.incoming, row.incoming, rtol=1e-5, atol=1e-5)


def test_a_layer_may_read_what_forward_casts_to_single_precision():
    model = nn.Sequential(Function(lambda x: x.float()), nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 3))
    assert prune_init.conservation(model, X[:, 0, 0]).holds()


def normalised():
    torch.manual_seed(0)
    return moved(nn.Sequential(conv(3, 5), nn.BatchNorm2d(5), nn.ReLU(), conv(5, 4, bias=False))).eval()


def test_norm_in_eval_mode_counts_its_mean_as_a_bias():
    model = normalised()
    wg, model = products(model, X, lambda y: y.square().sum())
    norm = model[1]
    offset = (norm.bias - norm.running_mean * norm.weight / (norm.running_var + norm.eps).sqrt()) * norm.bias.grad
    filters, outgoing = wg["0.weight"].sum((1, 2, 3)) + wg["0.bias"], wg["3.weight"].sum((0, 2, 3))
    scale = outgoing.abs().max()
    assert (filters + offset - outgoing).abs().max() / scale < 1e-12
    assert (filters + wg["1.bias"] - outgoing).abs().max() / scale > 0.01
    result = prune_init.conservation(model, X, objective=lambda y: y.square().sum())
    torch.testing.assert_close(result.neurons[0].incoming, filters)
    torch.testing.assert_close(result.neurons[0].outgoing, outgoing - offset.detach())
    torch.testing.assert_close(result.neurons[1].incoming, wg["1.weight"] + wg["1.bias"])
    torch.testing.assert_close(result.neurons[1].outgoing, outgoing)


def test_norm_in_train_mode_takes_all_but_eps_of_the_flow():
    model = normalised().train()
    wg, model = products(model, X, lambda y: y.pow(3).sum())
    filters, outgoing = wg["0.weight"].sum((1, 2, 3)), wg["3.weight"].sum((0, 2, 3))
    z = model[0](X.double())
    v = z.var((0, 2, 3), correction=0)
    assert model[0].bias.grad.abs().max() < 1e-10 * outgoing.abs().max()
    assert 0 < filters.abs().max() < 1e-3 * outgoing.abs().max()
    torch.testing.assert_close(filters, (model[1].eps / (v + model[1].eps) * wg["1.weight"]).detach())
    torch.testing.assert_close(wg["1.weight"] + wg["1.bias"], outgoing)
    assert prune_init.conservation(model, X, objective=lambda y: y.pow(3).sum(), mode="train").holds(1e-10)


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_a_naive_law_for_norms_is_caught(monkeypatch, mode):
    monkeypatch.setattr(layer_flow, "_scale_flow", lambda _, gamma, gradients, __: gamma * gradients["weight"])
    assert prune_init.conservation(normalised(), X, mode=mode).max_residual > 1e-3


def test_a_neuron_of_a_residual_net_is_a_channel_of_the_stream():
    torch.manual_seed(0)
    model = thin_resnet(8, 10, (3, 8, 8), width=4)
    result = prune_init.conservation(model, X)
    stream = next(neurons for neurons in result.neurons if neurons.layer == "stem.1")
    assert stream.writers == ("stem.1", "stages.0.0.branch.4")
    assert stream.readers == ("stages.0.0.branch.0", "stages.1.0.branch.0", "stages.1.0.shortcut.0")
    assert len(stream.incoming) == 4
    both = next(cut for cut in result.cuts if cut.layer == "stages.1.0.branch.0")
    assert both.layers == ("stages.1.0.branch.0", "stages.1.0.shortcut.0")
    inside = next(cut for cut in result.cuts if cut.layer == "stages.0.0.branch.3")
    assert (inside.layers, inside.shortcuts) == (("stages.0.0.branch.3",), ("stages.0.0.shortcut",))


def test_synflow_is_conserved_in_every_layer_of_vgg16():
    torch.manual_seed(0)
    model = vgg(16, 10, (3, 16, 16))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.abs_()
    result = prune_init.conservation(model, torch.ones(1, 3, 16, 16))
    assert len(result.cuts) == 27
    assert all(abs(cut.weights / result.output - 1) < 1e-14 for cut in result.cuts)
    assert all((n.incoming / n.outgoing - 1).abs().max() < 1e-13 for n in result.neurons)


class Recurrent(nn.Module):
    def __init__(self, *sizes, **options):
        super().__init__()
        self.rnn = nn.RNN(*sizes, **options)

    def forward(self, x):
        return self.rnn(x)[0]


def reading(change):
    layer = nn.Linear(4, 4)
    layer.register_forward_pre_hook(lambda module, args: (change(args[0]),))
    return layer


class Nested(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        return torch.sigmoid(self.layer(x))


@pytest.mark.parametrize(
    ("layers", "names"),
    [
        ([nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 5), nn.ReLU(), nn.Linear(5, 3)], {"1": "saturates"}),
        (
            [nn.Linear(4, 5), nn.ReLU(), nn.LayerNorm(5), nn.Linear(5, 3), nn.Sigmoid()],
            {"2": "normalises", "4": "satur"},
        ),
        (
            [nn.Linear(4, 4), nn.GELU(), Nested(), nn.Softmax(1)],
            {"1": "not linear", "2.sigmoid": "satur", "3": "normal"},
        ),
        ([nn.Linear(4, 4), Function(lambda x: x * x + 1)], {"1.mul": "multiplies", "1.add": "adds a constant"}),
        ([nn.Linear(4, 4), Function(lambda x: x.detach() + x), nn.Linear(4, 3)], {"1.detach": "not homogeneous"}),
        ([nn.Linear(4, 4), nn.ConstantPad1d(1, 3.5), nn.Linear(6, 3)], {"1": "adds a constant"}),
        ([nn.Linear(4, 4), Function(lambda x: x.tanh().tanh())], {"1.tanh": "satur", "1.tanh, call 2": "satur"}),
        ([nn.Linear(4, 4), Function(lambda x: x.clamp(-0.1, 0.1)), nn.Linear(4, 3)], {"1.clamp": "limits its values"}),
        (
            [nn.Linear(4, 4), Recurrent(4, 4, nonlinearity="relu"), nn.Linear(4, 3)],
            {"1.rnn": "rnn_relu adds a constant"},
        ),
        ([nn.Linear(4, 4), Recurrent(4, 4, nonlinearity="relu", bias=False), nn.Linear(4, 3)], {}),
        ([nn.Linear(4, 4), nn.ReLU(), reading(lambda x: 2 * x)], {}),
        ([nn.Linear(4, 4), nn.ReLU(), reading(lambda x: x + 1)], {"2": "does not read its input as it is"}),
        ([nn.Linear(4, 4), reading(lambda x: x - x.mean(1, True)), nn.Linear(4, 3)], {"1": "does not read its input"}),
        ([nn.Linear(4, 4), nn.ReLU6(), nn.Linear(4, 3)], {}),  # a ReLU for values below 6
        (
            [Function(lambda x: x / 4 - 0.5), nn.LayerNorm(4), nn.Linear(4, 3)],
            {},
        ),  # no law spans the first layer's input
        ([nn.Tanh(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 3)], {"2": "satur"}),
    ],
)
def test_what_breaks_the_laws_is_named(layers, names):
    torch.manual_seed(0)
    model = nn.Sequential(*layers)
    for module in model:
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight)
    result = prune_init.conservation(
        model, torch.randn(8, 4).clamp(-1, 1), objective=lambda y: y.pow(3).sum() + y[0, 1]
    )
    assert result.broken.keys() == names.keys()
    assert all(reason in result.broken[name] for name, reason in names.items())
    assert result.holds(1e-10) == (not names)


@pytest.mark.parametrize(
    "structure", [lambda a, b: (a, b), lambda a, b: {"a": a, "b": [b, 3]}, lambda a, b: torch.stack([a, b]).max(1)]
)
def test_by_default_all_outputs_are_summed(structure):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), Function(lambda x: structure(x, F.relu(x))))
    x = torch.randn(5, 4)
    result = prune_init.conservation(model, x)
    expected = sum(float(y.detach().sum()) for y in outputs(model(x)))
    assert result.holds() and result.output == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("layers", "x"),
    [
        ([conv(3, 4), nn.ReLU(), nn.MaxPool2d(2), conv(4, 5), nn.ReLU(), nn.ConvTranspose2d(5, 2, 2)], X[:1]),
        ([nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 3)], X[:1, 0, 0]),
    ],
)
def test_an_input_without_a_batch_is_a_batch_of_one(layers, x):
    model = nn.Sequential(*layers)
    batch, alone = (prune_init.conservation(model, x) for x in (x, x[0]))
    assert alone.holds()
    for one, other in zip(batch.neurons, alone.neurons, strict=True):
        torch.testing.assert_close((one.incoming, one.outgoing), (other.incoming, other.outgoing))


def test_inference_mode_changes_nothing():
    model = net("dense")
    expected = prune_init.conservation(model, X).output
    with torch.inference_mode():
        assert prune_init.conservation(model, X.clone()).output == expected


def test_an_operation_through_which_nothing_flows_is_named_by_kind():
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), Function(lambda x: x.clamp(min=0)), nn.Linear(4, 3))
    nn.init.zeros_(model[3].weight)
    assert prune_init.conservation(model, torch.randn(2, 4)).broken.keys() == {"1"}


@pytest.mark.parametrize("objective", [torch.sum, lambda y: (y - y).sqrt().sum()])
def test_whether_the_laws_hold_is_unknown_where_a_flow_is_not_finite(objective):
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3))
    x = torch.randn(2, 4) if objective is not torch.sum else torch.full((2, 4), torch.nan)
    assert prune_init.conservation(model, x, objective=objective).holds() is None


@pytest.mark.parametrize("failing", [False, True])
@pytest.mark.parametrize("name", ["norm", "dropped"])
def test_the_model_is_left_as_it_was(name, failing):
    model, x = net(name).float().train(), X.float()
    cross_entropy(model(x)).backward()
    model[1].eval()
    model[0].weight.requires_grad_(False)

    def state():
        tensors = [*model.state_dict().values(), *(p.grad for p in model.parameters()), x, torch.get_rng_state()]
        flags = [module.training for module in model.modules()], [p.requires_grad for p in (*model.parameters(), x)]
        return [tensor.clone() for tensor in tensors], flags

    def objective(y):
        torch.rand(1)
        if failing:
            raise RuntimeError("on purpose")
        return y.sum()

    before = state()
    refused = pytest.raises(prune_init.InputError, match="on purpose") if failing else nullcontext()
    with torch.no_grad(), refused:
        prune_init.conservation(model, x, objective=objective, mode="train")
    torch.testing.assert_close(state(), before, rtol=0, atol=0)


class Frozen(nn.Module):
    """A part without gradients beside one with gradients."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 5), nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, x):
        with torch.no_grad():
            h = F.relu(self.a(x))
        return self.c(h + F.relu(self.b(x)))


def test_nothing_flows_through_what_is_computed_without_gradients():
    torch.manual_seed(0)
    result = prune_init.conservation(Frozen(), torch.randn(6, 4))
    assert result.holds(1e-12) and not result.broken
    assert {cut.layer for cut in result.cuts} == {"b", "c"}


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        return self.layer(x) if x.sum() > 0 else x


class TwoInputs(Branching):
    def forward(self, x, other):
        return self.layer(x) + other


def hooked():
    model = nn.Sequential(nn.Linear(4, 4))
    model.register_forward_hook(lambda module, args, output: 2 * output)
    return model


def writing_to_a_view(write):
    return nn.Sequential(nn.Linear(4, 4), Function(lambda x: (write(x), F.relu(x))[1]))


DECAYED = nn.Linear(4, 4)
with torch.inference_mode():
    UNTRAINABLE = nn.Linear(4, 4)


@pytest.mark.parametrize(
    ("model", "arguments", "line"),
    [
        (writing_to_a_view(lambda x: x.view(-1).relu_()), {}, "relu at 1.relu_ overwrites what 1.relu reads later in"),
        (writing_to_a_view(lambda x: x.chunk(2, 1)[0].mul_(2)), {}, "mul at 1.mul_ overwrites what 1.relu reads later"),
        (hooked(), {}, "model=Sequential: does not compute what torch.fx traces: .*; look for in-place writes, hooks"),
        (UNTRAINABLE, {}, "model=Linear: was made in torch.inference_mode; allowed: weights that can be trained"),
        (
            nn.Sequential(nn.Linear(4, 4), Function(lambda x: x.argmax(1))),
            {},
            "its output has no floating-point tensor",
        ),
        (nn.Sequential(nn.Linear(4, 4), Function(lambda x: (x > 0).float())), {}, "its output does not depend on the"),
        (Branching(), {}, "model=Branching: torch.fx cannot trace it"),
        (TwoInputs(), {}, "model=TwoInputs: needs a second input, other"),
        (nn.ReLU(), {}, "model=ReLU: has no parameters"),
        (nn.LayerNorm(4), {}, "model=LayerNorm: has no linear, convolution or batch norm layer"),
        (nn.LazyLinear(4), {}, "model=LazyLinear: has parameters without a shape"),
        (nn.Linear(5, 4), {}, r"input=\[2, 4\]: Linear cannot be run on it: "),
        (nn.Linear(4, 4), {"input": torch.ones(2, 4, dtype=torch.long)}, "input=torch.int64: must be a floating-point"),
        (nn.Linear(4, 4), {"mode": "evil"}, "mode=evil: did you mean eval"),
        (nn.Linear(4, 4), {"objective": lambda y: y}, "objective=.*one real number"),
        (nn.Linear(4, 4), {"objective": lambda y: torch.ones(())}, "objective=.*depends on it"),
        (nn.Linear(4, 4), {"objective": lambda y: y.sum() + 1j}, "objective=.*one real number"),
        (nn.Linear(4, 4), {"objective": lambda y: {"a": y}["b"]}, "objective=.*fails on the model's output: 'b'"),
        (nn.Linear(4, 4), {"objective": lambda y: y.logits.sum()}, "objective=.*fails .*no attribute 'logits'"),
        (DECAYED, {"objective": lambda y: y.sum() + DECAYED.weight.norm()}, "objective=.*depends on .* parameters bes"),
        (nn.Linear(4, 4, device="meta"), {}, "device=meta: tensors there have no values"),
    ],
)
def test_bad_input_ends_in_one_line(model, arguments, line):
    with pytest.raises(InputError, match=line) as error:
        prune_init.conservation(model, **{"input": torch.randn(2, 4), **arguments})
    assert "\n" not in str(error.value)


def test_the_command_measures_before_and_during_training(capsys):
    main(["--architecture", "mlp", "--objective", "cross-entropy", "--mode", "train", "--steps", "1", "3"])
    shown = capsys.readouterr().out
    assert shown.count("Both theorems hold") == 3
    assert "at initialisation" in shown
    assert "after 3 steps" in shown


def test_the_command_measures_synflow_on_random_images(command):
    options = "--architecture resnet20 --input-shape 3 8 8 --num-classes 7 --objective synflow --steps 1"
    done = command(*options.split(), module="prune_init.analysis.conservation")
    assert done.code == 0 and done.out.count("Both theorems hold") == 2
