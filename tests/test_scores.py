"""Scores of small nets in closed form."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import prune_init
from prune_init.scorers import named
from prune_init.scorers.random_erk import erk_densities


def two_layers() -> nn.Sequential:
    """y = V W x with W (3, 2) and V (2, 3), no activation, float64."""
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(2, 3, bias=False), nn.Linear(3, 2, bias=False)).double()


def scores(model, scorer, **options):
    """Scores of one iteration that removes nothing."""
    return prune_init.prune(model, scorer, 0.0, iterations=1, **options).scores


def test_synflow_is_the_flow_through_each_weight():
    model = two_layers()
    W, V = model[0].weight.detach().abs(), model[1].weight.detach().abs()
    found = scores(model, "synflow", input_shape=(2,))
    torch.testing.assert_close(found["0.weight"], W * V.sum(0)[:, None])
    torch.testing.assert_close(found["1.weight"], V * W.sum(1)[None, :])


def test_snip_is_weight_times_gradient():
    model = two_layers()
    x, t = torch.randn(5, 2, dtype=torch.float64), torch.randn(5, 2, dtype=torch.float64)
    W, V = model[0].weight.detach(), model[1].weight.detach()
    error = 2 * (x @ W.T @ V.T - t) / t.numel()  # dL/dy of the mean squared error
    found = scores(model, "snip", data=[(x, t)], loss=F.mse_loss)
    torch.testing.assert_close(found["1.weight"], (V * (error.T @ (x @ W.T))).abs())
    torch.testing.assert_close(found["0.weight"], (W * (V.T @ error.T @ x)).abs())


def test_snip_in_eval_mode_does_not_depend_on_the_split_into_batches():
    x, t = torch.randn(7, 2, dtype=torch.float64), torch.randn(7, 2, dtype=torch.float64)
    whole = scores(two_layers(), "snip", data=[(x, t)], loss=F.mse_loss)
    parts = scores(two_layers(), "snip", data=[(x[:2], t[:2]), (x[2:], t[2:])], loss=F.mse_loss)
    for name in whole:
        torch.testing.assert_close(parts[name], whole[name])


def test_grasp_is_weight_times_hessian_times_gradient():
    """One linear layer, squared error: H g = X^T X g up to the loss's constant, row by row."""
    torch.manual_seed(2)
    model = nn.Sequential(nn.Linear(3, 2, bias=False)).double()
    x, t = torch.randn(6, 3, dtype=torch.float64), torch.randn(6, 2, dtype=torch.float64)
    W = model[0].weight.detach()
    temperature = 10.0
    scale = 2 / t.numel() / temperature
    g = scale * (x @ W.T / temperature - t).T @ x
    hg = scale / temperature * g @ x.T @ x
    found = scores(model, named("grasp", temperature=temperature), data=[(x, t)], loss=F.mse_loss)
    torch.testing.assert_close(found["0.weight"], W * hg)


def test_grasp_sees_only_the_masked_net():
    """A weight pruned in the first iteration has no part in the second one's gradient and Hessian."""
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(3, 1, bias=False)).double()
    x, t = torch.randn(6, 3, dtype=torch.float64), torch.randn(6, 1, dtype=torch.float64)
    w = model[0].weight.detach().clone()
    result = prune_init.prune(
        model, named("grasp", temperature=1.0), 1 / 3, iterations=2, data=[(x, t)], loss=F.mse_loss, schedule="linear"
    )
    # Linear: round(5/6 * 3) = 2 weights are left after the first iteration, so the second scores the final mask.
    mask = result.masks["0.weight"]
    assert mask.sum() == 2
    g = (2 / 6 * (x @ (w * mask).T - t).T @ x) * mask
    torch.testing.assert_close(result.scores["0.weight"], w * mask * (2 / 6 * g @ x.T @ x))


def test_magnitude():
    model = two_layers()
    torch.testing.assert_close(scores(model, "magnitude")["0.weight"], model[0].weight.detach().abs())


@pytest.mark.parametrize("density", [0.5, 0.1, 0.02, 0.9])
def test_erk_meets_the_density_and_keeps_proportions(density):
    shapes = {"stem": (16, 3, 3, 3), "body": (64, 64, 3, 3), "head": (10, 64)}
    found = erk_densities(shapes, density)
    sizes = {"stem": 432, "body": 36864, "head": 640}
    assert sum(found[n] * sizes[n] for n in shapes) == pytest.approx(density * sum(sizes.values()))
    assert max(found.values()) <= 1
    free = [n for n in shapes if found[n] < 1]
    ratios = [found[n] * sizes[n] / sum(shapes[n]) for n in free]
    assert ratios == pytest.approx([ratios[0]] * len(ratios))


def test_erk_by_hand():
    # Shares 25 : 134 : 74 of a budget of 0.1 * 37,936 = 3793.6: the head's 1204.8 exceed its 640 and the stem's 407.0
    # fit; then 3793.6 - 640 = 3153.6 at 25 : 134 give the stem 495.8, more than 432; the body gets what is left.
    found = erk_densities({"stem": (16, 3, 3, 3), "body": (64, 64, 3, 3), "head": (10, 64)}, 0.1)
    assert found["head"] == 1 and found["stem"] == 1
    assert found["body"] == pytest.approx((3793.6 - 640 - 432) / 36864)


def test_random_scorers_differ_in_their_layer_densities():
    def kept(scorer):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(10, 40), nn.ReLU(), nn.Linear(40, 400))
        return {n: int(m.sum()) for n, m in prune_init.prune(model, scorer, 0.9).masks.items()}

    assert kept("random_uniform") == {"0.weight": 40, "2.weight": 1600}
    # ERK: 50 : 440 of 1640.
    assert kept("random_erk") == {"0.weight": round(1640 * 50 / 490), "2.weight": 1640 - round(1640 * 50 / 490)}
    assert sum(kept("random").values()) == 1640 and kept("random")["0.weight"] != 40
