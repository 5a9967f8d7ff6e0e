"""Only one of the equivalent positions of an all-ones image is computed; the scores equal the plain derivative."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

import prune_init
from prune_init.architectures.resnet import thin_resnet
from prune_init.pruning.engine import equivalence
from prune_init.pruning.engine.equivalence import PositionClasses


def plain_synflow(net: nn.Module, shape: tuple[int, ...]) -> dict[str, torch.Tensor]:
    """|w| dR/d|w| of the dense net, computed by autograd alone."""
    tensors = {name: t.double().abs() for name, t in net.state_dict().items() if t.is_floating_point()}
    weights = {name: t.requires_grad_() for name, t in tensors.items() if t.ndim > 1}
    flow = functional_call(net.eval(), tensors, (torch.ones(1, *shape, dtype=torch.float64),)).sum()
    gradients = torch.autograd.grad(flow, [*weights.values()], materialize_grads=True)
    return {n: w.detach() * g for (n, w), g in zip(weights.items(), gradients, strict=True)}


def check(net: nn.Module, shape: tuple[int, ...]) -> int:
    """Compare the scores of the first iteration; return the FLOPs of two iterations."""
    expected = plain_synflow(net, shape)
    result = prune_init.prune(net, "synflow", 0.0, iterations=2, input_shape=shape)
    for name, score in result.scores.items():
        torch.testing.assert_close(score, expected[name], rtol=1e-12, atol=0)
    return result.cost.flops


@settings(max_examples=30, deadline=None)
@given(
    st.tuples(st.integers(5, 21), st.integers(5, 21)), st.integers(1, 5), st.integers(1, 2), st.integers(0, 2),
    st.integers(1, 2), st.booleans(), st.sampled_from([nn.MaxPool2d, nn.AvgPool2d]),
)  # fmt: skip
def test_scores_are_those_of_the_plain_derivative(size, kernel, stride, padding, dilation, constant, pool):
    torch.manual_seed(0)
    if dilation * (kernel - 1) + 1 > min(size) + 2 * padding:
        return
    if constant:
        pool = nn.AvgPool2d  # a maximum of equal numbers has no unique derivative: rounding would decide
    net = nn.Sequential(
        nn.Conv2d(2, 3, kernel, stride, padding, dilation), nn.BatchNorm2d(3), nn.ReLU(inplace=True),
        nn.Conv2d(3, 3, 3, padding=1), nn.ReLU(), pool(2, padding=1), nn.Conv2d(3, 4, (3, 1), padding=(1, 0)),
        nn.Flatten(), nn.LazyLinear(2),
    ).eval()  # fmt: skip
    net(torch.zeros(1, 2, *size))
    if constant:  # then different rows, such as the first and the last, have the same numbers
        for parameter in net.parameters():
            nn.init.constant_(parameter, 0.3)
    check(net, (2, *size))


def test_joins_and_other_operations():
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = (nn.Conv2d(c, 4, 3, padding=1) for c in (3, 4))
            self.place = nn.Parameter(torch.rand(12, 12))  # differs between positions
            # A weight for each use: only the first use of a weight is computed in the way tested here.
            self.last = nn.ModuleList(nn.Conv2d(4, 4, 3, padding=1) for _ in range(4))

        def forward(self, x):
            y = self.first(x)
            joined = (y + self.second(y)) * y.mean((2, 3), keepdim=True)
            placed = y + self.place
            cut = y[:, :, 1:-1].relu()
            marked = y.clone()
            marked[0, 0, 5, 5] = 7.0
            outputs = [last(z) for last, z in zip(self.last, (joined, placed, cut, marked), strict=True)]
            return sum(z.square().flatten(1).sum(1) for z in outputs)

    check(Net(), (3, 12, 12))


class Placed(nn.Module):
    """A net whose maps differ between positions after `change(map, place)`."""

    def __init__(self, change) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.place, self.change = nn.Parameter(torch.rand(4, 12, 12)), change

    def forward(self, x):
        return self.last(self.change(self.first(x), self.place)).flatten(1).square().sum(1)


JOINS = {
    "add": lambda h, place: torch.add(h, other=place),
    "sub": lambda h, place: torch.sub(input=h, other=place, alpha=-2),
    "mul": lambda h, place: torch.mul(other=h, input=place[None]),
    "method": lambda h, place: h.mul(other=place),
    "in place": lambda h, place: h.add_(other=place),
    "out": lambda h, place: torch.add(h.detach(), other=place.detach(), out=torch.empty_like(h).detach()) + h,
}
WRITES = {
    "data": lambda h, place: h.data,
    "data of a view": lambda h, place: h.view(4, -1).data.view(h.shape),
    "detach": lambda h, place: h.detach(),
    "numpy": lambda h, place: torch.from_numpy(h.detach().numpy()),
    "dlpack": lambda h, place: torch.from_dlpack(h.detach()),
    "asarray": lambda h, place: torch.asarray(h.detach()),
    "storage": lambda h, place: torch.empty(0, dtype=h.dtype).set_(h.untyped_storage(), 0, h.shape),
}
SWAPS = {
    "set data": lambda h, place: setattr(h, "data", h.data * place.data),
    "copy_": lambda h, place: h.copy_(h.clone() * place),
    "index_put_": lambda h, place: h.index_put_((torch.tensor([0]),), h[0].clone() * place),
}


@pytest.mark.parametrize("name", [*JOINS, *WRITES, *SWAPS])
def test_positions_differ_after_any_way_to_join_or_write(name):
    def write(h, place):
        WRITES[name](h, place).mul_(place.detach())
        return h

    def swap(h, place):
        SWAPS[name](h, place)
        return h

    check(Placed(JOINS.get(name) or (write if name in WRITES else swap)), (3, 12, 12))


@pytest.mark.parametrize("how", [{"stride": [1, 1], "padding": [1, 1]}, {"stride": (1,), "padding": (1,)}])
def test_a_window_is_given_by_lists_or_single_numbers(how):
    class Listed(Placed):
        def forward(self, x):
            h = F.conv2d(F.conv2d(x, self.first.weight, **how), self.last.weight, **how)
            return torch.max_pool2d(h, [2], [], [1]).square().flatten(1).sum(1)

    check(Listed(None), (3, 12, 12))


def test_a_residual_net_costs_less():
    torch.manual_seed(0)
    net = thin_resnet(20, 10, (3, 32, 32))
    flops = check(net, (3, 32, 32))
    # 6 FLOPs per multiply-add, forward and backward, for 40.55 million of them in each of two iterations.
    assert flops < 0.7 * 2 * 6 * 40.55e6


def test_classes():
    classes = equivalence.windows((0,) * 9, 3, 1, 1, 1)
    assert classes == (0, 1, 1, 1, 1, 1, 1, 1, 2)
    assert equivalence.windows(classes, 3, 1, 1, 1) == (0, 1, 2, 2, 2, 2, 2, 3, 4)
    assert equivalence.windows(classes, 2, 2, 0, 1) == (0, 1, 1, 1)
    assert equivalence.windows((0,) * 7, 3, 2, 0, 2) == (0, 0)
    assert PositionClasses(classes, classes).is_worth_it() and not PositionClasses((0, 1), (0, 1)).is_worth_it()


@pytest.mark.parametrize("change", [lambda x: x.add_(1), lambda x: x[0].add_(1), lambda x: x.view(-1)[3:4].zero_()])
def test_what_is_known_of_a_tensor_ends_when_it_changes(change):
    x = equivalence.uniform(torch.ones(1, 3, 4, 4))
    assert equivalence.of(x) == ((0,) * 4, (0,) * 4)
    change(x)
    assert equivalence.of(x) is None
