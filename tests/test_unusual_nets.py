"""Nets with weights, casts and masks in unusual places, each compared with the correct value."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import prune_init


def test_bare_matrices_alone_can_be_pruned() -> None:
    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.u, self.v = nn.Parameter(torch.randn(4, 8)), nn.Parameter(torch.randn(8, 3))

        def forward(self, x: Tensor) -> Tensor:
            return F.relu(x @ self.u) @ self.v

    net = Bare()
    result = prune_init.prune(net, "synflow", 0.5, input_shape=(4,), include=["u", "v"])
    assert result.connected and sum(int(mask.sum()) for mask in result.masks.values()) == 28
    assert prune_init.connectivity(net, torch.randn(1, 4), masks=result.masks).connected


def test_a_configuration_that_refuses_changes_is_left_alone() -> None:
    class Frozen(dict[str, int]):
        def refuse(self, *_: object) -> None:
            raise RuntimeError("frozen")

        clear = update = refuse  # type: ignore[assignment]

    net = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))
    net.config = Frozen(layers=2)
    assert prune_init.prune(net, "synflow", 0.5, input_shape=(6,)).connected and net.config == {"layers": 2}


def test_a_scripted_part_leaves_paths_unknown() -> None:
    net = nn.Sequential(nn.Linear(6, 4), torch.jit.script(nn.Sequential(nn.ReLU(), nn.Linear(4, 4))), nn.Linear(4, 3))
    with pytest.warns(UserWarning, match="scripted"):
        result = prune_init.prune(net, "magnitude", 0.5, input_shape=(6,), include=["0.weight", "2.weight"])
    assert result.connected is None and sum(int(mask.sum()) for mask in result.masks.values()) == 18


@pytest.mark.parametrize("scorer", ["snip", "grasp"])
def test_autocast_inside_forward_is_off_while_scoring(scorer: str) -> None:
    class Net(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                return super().forward(x).float()

    torch.manual_seed(0)
    layers = [nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 3)]
    data = [(torch.randn(40, 20), torch.arange(40) % 3)]
    plain, cast = (
        prune_init.prune(kind(*copy.deepcopy(layers)), scorer, 0.9, data=data).masks for kind in (nn.Sequential, Net)
    )
    assert all(mask.equal(cast[name]) for name, mask in plain.items())
    assert Net(*layers)(data[0][0]).ne(nn.Sequential(*layers)(data[0][0])).any()  # it is on again


@pytest.mark.parametrize("hidden", [-1e9, float("-inf")])
def test_synflow_leaves_a_mask_of_attention_as_it_is(hidden: float) -> None:
    class Causal(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.v = nn.Linear(8, 8, bias=False)
            self.register_buffer("mask", torch.full((4, 4), hidden).triu(1))
            self.mask: Tensor

        def forward(self, x: Tensor) -> Tensor:
            return (self.mask.softmax(-1) @ self.v(x))[:, 0]

    class First(Causal):
        def forward(self, x: Tensor) -> Tensor:
            return self.v(x)[:, 0]

    torch.manual_seed(0)
    net, first = Causal(), First()
    first.load_state_dict(net.state_dict())
    found, right = (prune_init.prune(n, "synflow", 0.5, input_shape=(4, 8)) for n in (net, first))
    assert found.connected and found.masks["v.weight"].equal(right.masks["v.weight"])


def test_standardised_weights_are_told() -> None:
    class Standardised(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return F.linear(x, F.layer_norm(self.weight, self.weight.shape[1:]), self.bias)

    with pytest.warns(UserWarning, match="layer_norm of weights subtracts their mean"):
        assert prune_init.prune(Standardised(6, 3), "magnitude", 0.5, input_shape=(6,)).connected is None
