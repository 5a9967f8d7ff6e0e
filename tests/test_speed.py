"""The benchmark of speed: it runs, and its baseline computes the same."""

import json

import pytest
import torch
from torch import nn

import prune_init
from prune_init.architectures.resnet import thin_resnet
from prune_init.benchmark.speed import __main__ as speed
from prune_init.benchmark.speed import baseline
from prune_init.benchmark.speed.cases import compiled_steps
from prune_init.host import compiler
from prune_init.pruning.weights import prunable


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 5),
    ).double()  # fmt: skip


@pytest.mark.parametrize(("scorer", "iterations"), [("synflow", 1), ("synflow", 7), ("snip", 1), ("grasp", 1)])
def test_the_plain_side_finds_the_same_masks(scorer, iterations):
    random = torch.Generator().manual_seed(1)
    data = [(torch.randn(10, 3, 8, 8, dtype=torch.float64, generator=random), torch.arange(10) % 5)]
    score = {"synflow": baseline.synflow((3, 8, 8)), "snip": baseline.snip(data), "grasp": baseline.grasp(data)}[scorer]
    plain = baseline.prune(baseline.masked(net()), score, 0.8, iterations)
    ours = prune_init.prune(net(), scorer, 0.8, iterations=iterations, input_shape=(3, 8, 8), data=data)
    assert all(torch.equal(mask, plain[name]) for name, mask in ours.masks.items())
    assert sum(int(mask.sum()) for mask in plain.values()) == round(0.2 * (8 * 27 + 8 * 72 + 5 * 32))


def larger() -> nn.Module:
    torch.manual_seed(0)
    return thin_resnet(20, 10, (3, 8, 8), width=8).double()


def test_the_published_code_keeps_counts_rounded_up_and_so_other_weights():
    """Its threshold removes int((1 - s_t) N) weights in iteration t; ours keeps the integer nearest to s_t N."""
    total = sum(weight.numel() for weight in prunable(larger()).values())
    kept = total // 100  # s N is an integer, so both keep the same number in the end

    score = baseline.synflow((3, 8, 8))
    theirs = baseline.prune(baseline.masked(larger()), score, 1 - kept / total, 40, whole=int)
    found = {
        how: prune_init.prune(larger(), sparsity=1 - kept / total, iterations=40, counts=how, input_shape=(3, 8, 8))
        for how in ("nearest", "published")
    }
    differ = {
        name: sum(int((mask & ~theirs[layer]).sum()) for layer, mask in ours.masks.items())
        for name, ours in found.items()
    }
    assert sum(int(mask.sum()) for mask in theirs.values()) == kept
    assert differ["published"] == 0 < differ["nearest"] < kept


def test_a_channels_last_net_is_pruned_alike():
    formats = (torch.contiguous_format, torch.channels_last)
    nets = [net().to(memory_format=memory) for memory in formats]
    ours, other = (prune_init.prune(n, "synflow", 0.8, iterations=5, input_shape=(3, 8, 8)).masks for n in nets)
    assert all(torch.equal(mask, other[name]) for name, mask in ours.items())


def test_quick(tmp_path, capsys):
    speed.main(["--quick", "--json", str(tmp_path / "speed.json")])
    found = json.loads((tmp_path / "speed.json").read_text())
    assert "plain / ours" in capsys.readouterr().out
    assert len(found["cases"]) == 5
    assert {row["repeats"] for row in found["cases"]} == {2}
    for row in found["cases"]:
        assert row["ratio_wall"] == pytest.approx(row["plain_wall"] / row["ours_wall"])
    assert found["growth"][1]["times_size"] == 2
    assert [row["precision"] for row in found["rates"]] == ["32-true", "bf16-mixed"]
    assert all(row["share"] == row["flops"] / row["product_flops"] for row in found["rates"])
    assert found["machine"]["threads"] == torch.get_num_threads()


@pytest.mark.slow
@pytest.mark.skipif(not compiler(), reason="torch.compile needs a C++ compiler")
def test_what_compiling_saves_can_be_measured():
    from torch._dynamo.utils import counters

    before = counters["stats"]["unique_graphs"]
    row = speed.compared(compiled_steps("conv", count=1), repeats=1)
    assert row["case"] == "compiled conv" and row["repeats"] == 1
    assert counters["stats"]["unique_graphs"] == before + 1  # one graph, only for ours
