"""Scoring the compact net once channels have died: the same masks, bit for bit, with less work."""

import copy

import pytest
import torch
from torch import nn

import prune_init
from prune_init.architectures.resnet import thin_resnet
from prune_init.architectures.vgg import vgg
from prune_init.pruning.engine import shrinking


def mlp():
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 60), nn.ReLU(), nn.Linear(60, 40), nn.ReLU(), nn.Linear(40, 5))


def chain():
    layers = []
    for wide, wider in ((3, 16), (16, 32), (32, 32)):
        layers += [nn.Conv2d(wide, wider, 3, padding=1), nn.BatchNorm2d(wider), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 5))


NETS = {
    "mlp": mlp,
    "chain": chain,
    "resnet": lambda: thin_resnet(8, num_classes=5, input_shape=(3, 8, 8), width=8),
    "vgg": lambda: vgg(11, num_classes=5, input_shape=(3, 32, 32)),
}


def moved(model):
    """Norm statistics and biases as after some training, so that dead channels emit constants."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.normal_(module.bias, std=0.1)
    return model


def pruned(monkeypatch, model, factor, scorer, sparsity, iterations, size=8):
    monkeypatch.setattr(shrinking, "FACTOR", factor)
    x = torch.randn(10, 3, size, size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return prune_init.prune(
        copy.deepcopy(model),
        scorer,
        sparsity,
        iterations=iterations,
        input_shape=(3, size, size),
        data=[(x, torch.arange(10) % 5)],
        dtype=torch.float64,
    )


@pytest.mark.parametrize("name", ["mlp", "chain", "resnet"])
@pytest.mark.parametrize("scorer", ["synflow", "synflow_l2", "iter_snip"])
@pytest.mark.parametrize("sparsity", [0.9, 0.99])
@pytest.mark.parametrize("statistics", ["fresh", "moved"])
def test_masks_and_scores_are_those_of_the_whole_net(monkeypatch, name, scorer, sparsity, statistics):
    torch.manual_seed(0)
    model = NETS[name]() if statistics == "fresh" else moved(NETS[name]())
    whole = pruned(monkeypatch, model, 0.0, scorer, sparsity, 30)
    part = pruned(monkeypatch, model, 0.9, scorer, sparsity, 30)
    assert all(torch.equal(mask, part.masks[key]) for key, mask in whole.masks.items())
    for key, score in whole.scores.items():
        torch.testing.assert_close(part.scores[key], score, rtol=1e-9, atol=1e-12 * float(score.abs().max()))
    assert part.cost.passes == whole.cost.passes == 30 * (10 if scorer == "iter_snip" else 1)
    assert part.cost.flops <= whole.cost.flops


def test_it_does_shrink(monkeypatch):
    torch.manual_seed(0)
    model = NETS["vgg"]()
    whole = pruned(monkeypatch, model, 0.0, "synflow", 0.999, 20, size=32)
    part = pruned(monkeypatch, model, 0.7, "synflow", 0.999, 20, size=32)
    assert all(torch.equal(mask, part.masks[key]) for key, mask in whole.masks.items())
    assert part.cost.flops < 0.65 * whole.cost.flops


def test_signed_and_reviving_scores_are_left_whole(monkeypatch):
    """The score 0 of a dead weight is above a negative score, and a weight that is revived is not dead."""
    torch.manual_seed(0)
    model = NETS["chain"]()
    for scorer in ("grasp", "force", "magnitude"):
        whole = pruned(monkeypatch, model, 0.0, scorer, 0.99, 10)
        part = pruned(monkeypatch, model, 0.9, scorer, 0.99, 10)
        assert part.cost.flops == whole.cost.flops
        assert all(torch.equal(mask, part.masks[key]) for key, mask in whole.masks.items())
