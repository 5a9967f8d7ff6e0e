"""Paths end where a factor is 0 for certain, and begin at integers and booleans of the input."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import prune_init


def linear(inputs: int, outputs: int, *, bias: bool = False) -> nn.Linear:
    return nn.Linear(inputs, outputs, bias=bias)


class Gated(nn.Module):
    """A value times a function of a gate."""

    def __init__(self, act: Callable[[Tensor], Tensor], *, bias: bool = False, fused: bool = False) -> None:
        super().__init__()
        self.fused, self.act = fused, act
        self.gate, self.up = linear(6, 8, bias=bias), linear(6, 8)
        self.down = linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        if self.fused:
            gate, up = torch.cat([self.gate(x), self.up(x)], 1).view(-1, 4, 4).transpose(1, 2).chunk(2, 2)
            gate, up = (part.transpose(1, 2).flatten(1) for part in (gate, up))
        else:
            gate, up = self.gate(x), self.up(x)
        return self.down(self.act(gate) * up)


def shifted(norm: nn.Module) -> nn.Module:
    """A norm layer with a bias other than 0."""
    with torch.no_grad():
        norm.get_parameter("bias").fill_(0.5)
    return norm


def moved(norm: nn.Module) -> nn.Module:
    """A batch norm with a stored mean other than 0."""
    norm.get_buffer("running_mean").fill_(0.5)
    return norm


class Gate(nn.Module):
    """The gated linear unit of torch."""

    def __init__(self) -> None:
        super().__init__()
        self.both, self.down = linear(6, 16), linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.glu(self.both(x), 1))


class Normed(nn.Module):
    """A root-mean-square norm, as many write it."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.scale = linear(4, 6), linear(6, 3), nn.Parameter(torch.ones(6))

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x)
        return self.b(self.scale * (h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + 1e-6)))


class Attention(nn.Module):
    """Attention, with softmax or without."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.q, self.k, self.v, self.how = linear(6, 4), linear(6, 4), linear(6, 4), how

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.q(x), self.k(x), self.v(x)
        if self.how == "sdpa":
            return F.scaled_dot_product_attention(q, k, v)
        if self.how == "grouped":
            heads, (k, v) = q.unflatten(-1, (2, 2)).transpose(1, 2), (t[..., :2].unsqueeze(1) for t in (k, v))
            return F.scaled_dot_product_attention(heads, k, v, enable_gqa=True)
        scores = q.float().to(q.dtype) @ k.transpose(1, 2)
        return (scores.softmax(-1) if self.how == "softmax" else scores) @ v


CASES: dict[str, tuple[nn.Module, tuple[int, ...], list[str], bool]] = {
    "silu": (Gated(F.silu), (6,), ["gate"], False),
    "silu of a bias": (Gated(F.silu, bias=True), (6,), ["gate"], True),
    "sigmoid": (Gated(torch.sigmoid), (6,), ["gate"], True),
    "relu, in parts of one tensor": (Gated(F.relu, fused=True), (6,), [], True),
    "the value": (Gated(torch.sigmoid), (6,), ["up"], False),
    "a sum with another value": (Gated(lambda gate: gate + gate.tanh()), (6,), ["gate"], False),
    "a sum with a number": (Gated(lambda gate: gate + 1), (6,), ["gate"], True),
    "written to since": (Gated(lambda gate: gate.clone().fill_(2.0) + gate), (6,), ["gate"], True),
    "in place, not 0 at 0": (Gated(lambda gate: gate.sigmoid_()), (6,), ["gate"], True),
    "in place, 0 at 0": (Gated(lambda gate: F.silu(gate, inplace=True)), (6,), ["gate"], False),
    "in place, through a view": (Gated(lambda gate: (gate.view(-1).sigmoid_(), gate)[1]), (6,), ["gate"], True),
    "batch norm": (Gated(shifted(nn.BatchNorm1d(8).eval())), (6,), ["gate"], True),
    "batch norm without bias": (Gated(moved(nn.BatchNorm1d(8, affine=False).eval())), (6,), ["gate"], True),
    "layer norm": (Gated(shifted(nn.LayerNorm(8))), (6,), ["gate"], True),
    "group norm": (Gated(shifted(nn.GroupNorm(2, 8))), (6,), ["gate"], True),
    "rms norm": (Gated(nn.RMSNorm(8)), (6,), ["gate"], False),
    "linear attention without values": (Attention("linear"), (3, 6), ["v"], False),
    "linear attention without queries": (Attention("linear"), (3, 6), ["q"], False),
    "attention without values": (Attention("softmax"), (3, 6), ["v"], False),
    "attention without queries": (Attention("softmax"), (3, 6), ["q"], True),
    "attention of one token without values": (Attention("softmax"), (1, 6), ["v"], False),
    "fused attention of one token without values": (Attention("sdpa"), (1, 6), ["v"], False),
    "fused attention without values": (Attention("sdpa"), (3, 6), ["v"], False),
    "fused attention without queries": (Attention("sdpa"), (3, 6), ["q"], True),
    "grouped attention without values": (Attention("grouped"), (3, 6), ["v"], False),
    "grouped attention without queries": (Attention("grouped"), (3, 6), ["q"], True),
}


def masks_without(net: nn.Module, layers: list[str]) -> dict[str, Tensor]:
    weights = {name: p for name, p in net.named_parameters() if p.ndim > 1}
    return {name: torch.full(p.shape, name.split(".")[0] not in layers) for name, p in weights.items()}


def moves(net: nn.Module, x: Tensor) -> bool:
    """Whether the output changes with the input."""
    return bool((net(x) - net(torch.randn_like(x))).abs().max() > 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("case", CASES)
def test_a_product_ends_paths_only_where_a_factor_is_zero(case: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    net, shape, layers, connected = CASES[case]
    net = copy.deepcopy(net).to(dtype)
    masks, x = masks_without(net, layers), torch.randn(2, *shape, dtype=dtype)
    found = prune_init.connectivity(net, x, masks=masks)
    prune_init.apply_masks(net, masks)
    assert found.connected == connected == moves(net, x)
    if not connected:
        assert sum(layer.effective or 0 for layer in found.layers) == 0


def test_the_units_that_a_gate_or_a_norm_separates() -> None:
    masks = masks_without(gate := Gate(), [])
    masks["both.weight"][[0, 1, 8, 9, 10]] = False  # values of units 0 and 1, gates of 0, 1 and 2
    found = prune_init.connectivity(gate, torch.randn(2, 6), masks=masks)
    assert [layer.effective for layer in found.layers] == [6 * 6 + 5 * 6, 6 * 3]  # unit 2 is halved by its gate
    masks = masks_without(norm := Normed(), [])
    masks["a.weight"][3:] = False
    masks["b.weight"][:, :3] = False
    assert prune_init.connectivity(norm, torch.randn(2, 4), masks=masks).connected is False
    masks["b.weight"][0, 0] = True
    found = prune_init.connectivity(norm, torch.randn(2, 4), masks=masks)
    assert [layer.effective for layer in found.layers] == [12, 1]  # all units of `a` enter the mean


class Joined(nn.Module):
    """Numbers joined with integers or booleans."""

    def __init__(self, how: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.how, self.a, self.b = how, nn.Linear(8, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        return self.b(F.relu(self.a(self.how(x, other))))


WAYS: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], Tensor]] = {
    "category": (lambda x, c: torch.cat([x, F.one_hot(c, 3).float()], 1), torch.tensor([0, 2])),
    "count": (lambda x, c: torch.cat([x, c[:, None].float().expand(-1, 3)], 1), torch.tensor([4, 2])),
    "added": (lambda x, c: F.pad(x, (0, 3)) + F.pad(c[:, None].float().expand(-1, 3), (5, 0)), torch.tensor([4, 2])),
}


@pytest.mark.parametrize("way", WAYS)
def test_paths_begin_at_integers_beside_numbers(way: str) -> None:
    how, other = WAYS[way]
    net: Any = Joined(how)
    x = torch.randn(2, 5)
    masks = masks_without(net, [])
    assert [layer.effective for layer in prune_init.connectivity(net, (x, other), masks=masks).layers] == [64, 16]
    masks["a.weight"][:, :5] = False  # only what reads the integers is left
    assert prune_init.connectivity(net, (x, other), masks=masks).connected is True
    prune_init.apply_masks(net, masks)
    assert not net(x, other).equal(net(x, other.flip(0)))


def test_a_condition_from_the_input_begins_no_path_and_ends_none() -> None:
    class Masked(nn.Module):
        def __init__(self, how: str) -> None:
            super().__init__()
            self.a, self.b, self.how = linear(5, 8), linear(8, 2), how

        def forward(self, x: Tensor, seen: Tensor) -> Tensor:
            h, zero = self.a(x), torch.zeros(())
            chosen = h.where(seen, zero) if self.how == "method" else torch.where(seen, h, zero)
            return self.b(h.masked_fill(~seen, 0.0) if self.how == "fill" else chosen)

    for how in ("method", "function", "fill"):
        net = Masked(how)
        example = (torch.randn(2, 5), torch.ones(2, 8, dtype=torch.bool))
        assert prune_init.connectivity(net, example, masks=masks_without(net, [])).connected is True
        assert prune_init.connectivity(net, example, masks=masks_without(net, ["a"])).connected is False


@pytest.mark.parametrize("form", ["method", "function"])
def test_where_has_two_orders_of_arguments(form: str) -> None:
    class First(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = linear(6, 8), linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            keep, h, zero = torch.arange(8) < 1, self.a(x), torch.zeros(())
            return self.b(h.where(keep, other=zero) if form == "method" else torch.where(keep, h, zero))

    found = prune_init.connectivity(First(), torch.randn(2, 6), masks=masks_without(First(), []))
    assert [layer.effective for layer in found.layers] == [6, 3]


def test_paths_through_a_chosen_index_are_not_known() -> None:
    class Top(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate, self.value = nn.Linear(6, 4), nn.Linear(6, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.value(x).gather(1, self.gate(x).argmax(-1, keepdim=True))

    with pytest.warns(UserWarning, match="gather at indices that depend on the input"):
        result = prune_init.prune(Top(), "magnitude", 0.5, input_shape=(6,))
    assert result.connected is None and sum(int(mask.sum()) for mask in result.masks.values()) == 24


def test_what_may_differ_from_zero_is_computed_once_in_deep_nets() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate, self.up, self.down = linear(6, 8), linear(6, 8), linear(8, 6)

        def forward(self, x: Tensor) -> Tensor:
            h = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True))
            return x + self.down(F.silu(self.gate(h)) * self.up(h))

    net = nn.Sequential(*(Residual() for _ in range(30)))  # three reads of each sum: 3^30 without a memory
    found = prune_init.connectivity(net, torch.randn(1, 6))
    assert found.connected and found.effective_sparsity == 0


def test_a_product_after_a_long_chain_keeps_its_paths() -> None:
    class Late(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.chain = nn.Sequential(*(nn.Sequential(linear(4, 4), nn.ReLU()) for _ in range(500)))
            self.gate = linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            h = self.chain(x)
            return h * self.gate(h)

    found = prune_init.connectivity(Late(), torch.randn(1, 4))  # deeper than Python's recursion
    assert found.connected and found.effective_sparsity == 0
