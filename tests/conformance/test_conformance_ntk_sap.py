"""NTK-SAP compared with the neural tangent kernel that it approximates, and what it does not depend on."""

import conformance_nets as nets
import pytest
import torch
from conformance_library import pruned, same, scored
from torch import nn
from torch.autograd.functional import jacobian
from torch.func import functional_call

import prune_init
from prune_init import InputError


def random(seed):
    return torch.Generator().manual_seed(seed)


def test_for_small_noise_it_is_the_gradient_of_the_squared_jacobian_times_the_noise():
    """Compared with the explicit Jacobian of a net with tanh, for the random numbers of the seed."""
    model, epsilon = nets.drawn("mlp", 4), 1e-5
    model = nn.Sequential(*(nn.Tanh() if isinstance(layer, nn.ReLU) else layer for layer in model))
    scorer = scored("ntk_sap", batches=1, batch_size=3, epsilon=epsilon)
    found = pruned(model, scorer, 0, iterations=1, generator=random(9)).scores

    generator = random(9)
    torch.randint(2**62, (), generator=generator)
    initial = {name: p.detach() for name, p in model.named_parameters() if name.endswith("weight")}
    weights, noise = {}, {}
    for name, w in initial.items():
        weights[name] = w.square().mean().sqrt() * torch.randn(w.shape, generator=generator).double()
    x = torch.randn(3, 6, generator=generator).double()
    for name, w in initial.items():
        noise[name] = torch.randn(w.shape, generator=generator).double()

    def answer(*masks):
        """|J (m dw)|^2 with the Jacobian J at the masked weights."""
        masked = tuple(w * mask for w, mask in zip(weights.values(), masks, strict=True))
        parts = jacobian(
            lambda *w: functional_call(model, dict(zip(weights, w, strict=True)), x), masked, create_graph=True
        )
        moves = zip(parts, noise.values(), masks, strict=True)
        return sum((part * dw * mask).flatten(2).sum(2) for part, dw, mask in moves).square().sum()

    for name, slope in zip(weights, jacobian(answer, tuple(map(torch.ones_like, weights.values()))), strict=True):
        size = float(slope.abs().max())
        torch.testing.assert_close(found[name] / epsilon**2, slope.abs(), rtol=1e-3, atol=1e-3 * size)


def test_in_expectation_it_is_the_gradient_of_the_kernels_trace():
    """In closed form: f = V U x has E |df/dw|^2 = sum over k, i, j of (V_ki^2 x_j^2 + U_ij^2 x_j^2), times masks.

    With standard deviations v and u the derivative by a mask of U is 2 K (u^2 + v^2), and by one of V 2 D (u^2 + v^2).
    """
    inputs, hidden, outputs = 6, 40, 20
    model = nn.Sequential(nn.Linear(inputs, hidden, bias=False), nn.Linear(hidden, outputs, bias=False)).double()
    with torch.no_grad():
        model[0].weight.normal_(0, 0.6, generator=random(0))
        model[1].weight.normal_(0, 0.3, generator=random(1))
    spread = sum(float(w.detach().square().mean()) for w in model.parameters())
    batches, size, epsilon = 300, 10, 1e-3
    scorer = scored("ntk_sap", batches=batches, batch_size=size, epsilon=epsilon)
    scale = batches * size * epsilon**2
    u, v = (
        score.mean() / scale for score in pruned(model, scorer, 0, iterations=1, generator=random(2)).scores.values()
    )
    assert float(u) == pytest.approx(2 * outputs * spread, rel=0.05)
    assert float(v) == pytest.approx(2 * inputs * spread, rel=0.05)


@pytest.mark.parametrize("kind", ["mlp", "normed"])
def test_of_the_weights_it_knows_the_spread_of_each_layer_alone(kind):
    """Weights in another order and with other signs give the same masks."""
    model, scorer = nets.drawn(kind, 5), scored("ntk_sap", batches=2, batch_size=5)
    before = pruned(model, scorer, iterations=3)
    with torch.no_grad():
        for name, w in model.named_parameters():
            if name in before.masks:
                w.copy_(-w.flatten().flip(0).view_as(w))
    after = pruned(model, scorer, iterations=3)
    assert same(after.masks, before.masks)
    for name, score in before.scores.items():
        torch.testing.assert_close(after.scores[name], score, rtol=1e-9, atol=1e-15)


def test_survivors_are_drawn_with_the_spread_of_the_first_weights_and_the_pruned_stay_zero():
    model = nn.Sequential(nn.Linear(6, 1500, bias=False), nn.ReLU(), nn.Linear(1500, 3, bias=False)).double()
    with torch.no_grad():
        model[0].weight.normal_(1, 0.5, generator=random(0))  # the mean counts in the spread too
        model[2].weight.normal_(0, 0.1, generator=random(2))
    masks = pruned(model, "random", 0.5, generator=random(1)).masks
    kept, seen = masks["0.weight"], []
    spread = float(model[0].weight.detach()[kept].square().mean().sqrt())
    model[0].register_forward_pre_hook(lambda layer, _: seen.append(layer.weight.detach().clone()))
    scorer = scored("ntk_sap", batches=1, batch_size=2)
    found = pruned(model, scorer, 0.9, iterations=2, masks=masks, generator=random(3))
    first, moved, second, _, last = seen  # the last pass searches for paths
    live = second != 0
    assert torch.equal(first != 0, kept) and torch.equal(moved != 0, kept)
    assert (live <= kept).all() and (last.bool() <= live).all() and live.sum() < kept.sum()
    for drawn, expected in (
        (first[kept], spread),
        (second[live], spread),
        ((moved - first)[kept], 0.01),
        ((first - second)[live], 2**0.5 * spread),
    ):
        assert len(drawn) > 400 and float(drawn.std()) == pytest.approx(expected, rel=4 / (2 * len(drawn)) ** 0.5)
    assert not any(score[~masks[name]].any() for name, score in found.scores.items())


def test_norm_layers_keep_the_statistics_of_the_batch_in_train_mode_only():
    """In all three passes of train mode; dropout is never active."""
    model = nets.drawn("normed", 3).append(nn.Dropout(0.5))
    model[1].momentum, model[4].momentum, calls = 0.3, None, []
    model[1].register_forward_pre_hook(lambda norm, _: calls.append((norm.training, norm.momentum)))
    model[1].register_forward_hook(lambda norm, inputs, output: calls.append((inputs[0].detach(), output.detach())))
    scorer = scored("ntk_sap", batches=1, batch_size=7)
    result = pruned(model, scorer, mode="train", iterations=1)
    assert [calls[k][0] for k in (0, 2, 4)] == [True, False, False] and calls[0][1] == 1.0
    (x, _), (same_x, y) = calls[1], calls[3]
    assert torch.equal(x, same_x)
    mean, variance = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), keepdim=True)
    gamma, beta = (p.detach()[:, None, None] for p in (model[1].weight, model[1].bias))
    torch.testing.assert_close(y, (x - mean) / (variance + 1e-5).sqrt() * gamma + beta)
    ledger = result.cost.ledger
    assert (result.cost.passes, ledger.forward, ledger.backward, ledger.hessian) == (7, 21, 14, 0)
    calls.clear()
    assert pruned(model, scorer, mode="eval", iterations=1).cost.ledger.forward == 14
    assert not calls[0][0] and (model[1].momentum, model[4].momentum) == (0.3, None)


def test_momenta_are_restored_when_scoring_raises():
    model = nets.drawn("normed", 3)

    class Half(nn.Module):
        def forward(self, x):
            raise ZeroDivisionError

    model.append(Half()).eval()
    model[1].momentum = 0.3
    with pytest.raises(ZeroDivisionError):
        prune_init.prune(model, "ntk_sap", input_shape=(2, 6, 6))
    assert (model[1].momentum, model[4].momentum) == (0.3, 0.1) and not any(m.training for m in model.modules())


def test_a_shape_that_does_not_fit_is_named():
    with pytest.raises(InputError, match=r"input_shape=\(5,\): Sequential cannot be run on it"):
        prune_init.prune(nets.drawn("mlp", 0), "ntk_sap", input_shape=(5,))
    with pytest.raises(InputError, match="input_shape=None"):
        prune_init.prune(nets.drawn("mlp", 0), "ntk_sap")


@pytest.mark.parametrize("option", ["batches", "batch_size"])
def test_empty_batches_are_refused(option):
    with pytest.raises(InputError, match=f"{option}=0: allowed: whole numbers from 1"):
        scored("ntk_sap", **{option: 0})
