"""Scores of small nets in closed form; tests/conformance compares those of all scorers on larger ones."""

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


def test_erk_by_hand():
    # Shares 25 : 134 : 74 of a budget of 0.1 * 37,936 = 3793.6: the head's 1204.8 exceeds its 640, the stem's 407.0
    # fits. Then 3793.6 - 640 = 3153.6 at 25 : 134 gives the stem 495.8, more than its 432; the body gets the rest.
    found = erk_densities({"stem": (16, 3, 3, 3), "body": (64, 64, 3, 3), "head": (10, 64)}, 0.1)
    assert found["head"] == 1 and found["stem"] == 1
    assert found["body"] == pytest.approx((3793.6 - 640 - 432) / 36864)
