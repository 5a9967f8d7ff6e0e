"""Paths from input to output, against an independent search over channels."""

import itertools

import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import prune_init
from prune_init.pruning.paths.effective_weights import effective_weights
from prune_init.pruning.paths.kinds import UnsupportedOperationError


def effective_in_chain(masks: list[torch.Tensor]) -> list[torch.Tensor]:
    """By search: units reached from the input, units that reach the output, weights between the two."""
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


@pytest.mark.parametrize("seed", range(5))
def test_convolutions_with_norm_and_pooling_match_a_search_over_channels(seed):
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(3, 5, 3, padding=1), nn.BatchNorm2d(5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(5, 7, 3, padding=1), nn.BatchNorm2d(7), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(7, 4),
    )  # fmt: skip
    masks = {n: torch.rand(model.get_parameter(n).shape) < 0.04 for n in ("0.weight", "4.weight")}
    masks["9.weight"] = torch.rand(4, 7) < 0.3
    found = effective_weights(model, masks, torch.empty(1, 3, 8, 8))
    channels = [masks["0.weight"].flatten(2).any(2), masks["4.weight"].flatten(2).any(2), masks["9.weight"]]
    live = effective_in_chain(channels)
    assert torch.equal(found["0.weight"], masks["0.weight"] & live[0][:, :, None, None])
    assert torch.equal(found["4.weight"], masks["4.weight"] & live[1][:, :, None, None])
    assert torch.equal(found["9.weight"], live[2])


class Residual(nn.Module):
    """Two joins, a shortcut with weights, a concatenation, a grouped and a depthwise convolution."""

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
    masks["shortcut.weight"][:] = False  # paths go through the branch
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


def test_zero_gradient_flow_is_no_path_and_the_model_is_untouched():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.Sigmoid(), nn.Linear(3, 2))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with torch.no_grad():
        assert prune_init.connectivity(model, torch.empty(1, 4)).connected
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_unknown_operations_are_named():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, x):
            return torch.linalg.inv(self.linear(x))

    with pytest.raises(UnsupportedOperationError, match="inv"):
        prune_init.connectivity(Odd(), torch.empty(4, 4))
    model = Odd()
    model.input_shape = (4,)
    with pytest.warns(UserWarning, match="inv"):
        result = prune_init.prune(model, "magnitude", 0.5)
    assert result.effective_sparsity is None and result.connected is None and result.sparsity == 0.5


def test_a_model_in_double_precision_with_parameters_that_are_no_weights():
    """Sums with a constant of the model's own type are not promoted beyond that of the paths."""

    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(1, 2, 1), nn.Conv2d(2, 1, 1)
            self.scale = nn.Parameter(torch.ones(2, 1, 1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.second(self.scale * self.first(x))

    found = prune_init.connectivity(Scaled().double(), torch.zeros(1, 1, 4, 4, dtype=torch.double))
    assert found.connected and [layer.effective for layer in found.layers] == [2, 2]
