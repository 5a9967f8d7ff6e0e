"""Position decides between weights of equal score: this is counted, and a warning is shown if it matters."""

import json
import warnings

import pytest
import torch
from torch import nn

import prune_init
from prune_init.pruning.ties import Ties

DATA = [(torch.randn(40, 8, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 4)]
IMAGES = [(torch.randn(20, 3, 16, 16, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 10)]


def mlp(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 4))


def convnet(norm, padding=0):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=padding),
        norm(8),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, padding=padding),
        norm(16),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 10),
    )


def pruned(model, scorer, sparsity=0.9, **options):
    """The result, and the warnings about ties."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        result = prune_init.prune(model, scorer, sparsity, **options)
    return result, [str(w.message) for w in said if "position" in str(w.message) or "weights of" in str(w.message)]


@pytest.mark.parametrize("scorer", ["snip", "grasp", "iter_snip", "force"])
def test_a_head_that_starts_at_0_is_named(scorer):
    model = mlp()
    nn.init.zeros_(model[2].weight)
    result, said = pruned(model, scorer, data=DATA, include="0.*", iterations=2)
    (told,) = said
    assert result.ties.share == 1 and result.ties.kept == 26 and result.ties.score == 0
    assert result.ties.layers == {"0.weight": result.ties.kept + result.ties.removed}
    assert told == str(result.ties) == result.ties.as_dict()["told"] and result.ties.as_dict()["unscored"] == []
    assert "for 100.0% of the kept weights, position decided rather than the score" in told
    assert "all 0, in 2.weight" in told and "\n" not in told


def test_a_layer_whose_scores_are_all_0_and_of_which_nothing_is_left_is_named():
    class Branch(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.a, self.b, self.head = (nn.Linear(8, 8) for _ in range(4))
            nn.init.zeros_(self.b.weight)

        def forward(self, x):
            x = self.stem(x)
            return self.head(x + self.b(self.a(x)))

    result, said = pruned(Branch(), "snip", 0.75, data=[(DATA[0][0], torch.arange(40) % 8)])
    assert result.ties.unscored == ("a.weight", "b.weight")
    assert "all weights of a.weight, b.weight are pruned" in said[0] and "all 0, in b.weight" in said[0]


def test_a_part_under_no_grad_is_named():
    class Frozen(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone, self.head = nn.Linear(8, 16), nn.Linear(16, 4)

        def forward(self, x):
            with torch.no_grad():
                x = self.backbone(x).relu()
            return self.head(x)

    result, said = pruned(Frozen(), "snip", 0.8, data=DATA)
    assert result.ties.unscored == ("backbone.weight",)
    assert "no gradient reaches them" in said[0] and "no_grad" in said[0]


def test_a_net_that_is_wholly_under_no_grad_is_refused():
    class Frozen(nn.Linear):
        def forward(self, x):
            with torch.no_grad():
                return super().forward(x)

    for options in ({"scorer": "synflow", "input_shape": (8,)}, {"scorer": "snip", "data": DATA}):
        with pytest.raises(prune_init.InputError, match="model=Frozen: its output depends on none of its weights"):
            prune_init.prune(Frozen(8, 4), **options)


@pytest.mark.parametrize("norm", [nn.InstanceNorm2d, lambda n: nn.BatchNorm2d(n, track_running_stats=False)])
def test_norms_that_divide_rounding_by_rounding_are_told(norm):
    result, said = pruned(convnet(norm), "synflow", input_shape=(3, 32, 32))
    assert "rounding noise" in said[0] and "norm layer" in said[0]
    assert result.ties.share > 0.5
    # With padding, borders differ from the middle, so the norm has real statistics.
    result, said = pruned(convnet(norm, padding=1), "synflow", 0.5, input_shape=(3, 32, 32))
    assert not said and result.ties.share < 0.01
    result, said = pruned(convnet(norm), "snip", data=IMAGES)
    assert not said


def test_scorers_are_told_apart_by_numbers():
    same = mlp()
    for layer in (same[0], same[2]):
        nn.init.constant_(layer.weight, 0.5)
    result, said = pruned(same, "magnitude", 0.5)
    assert result.ties.share == 1 and "their scores are equal" in said[0]
    assert result.ties.kept == 192 and result.ties.removed == 192
    result, said = pruned(same, "random", 0.5, input_shape=(8,))
    assert result.ties == Ties() and not said


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_a_constant_start_decides_by_position_although_later_scores_differ(scope):
    model = mlp()
    for layer in (model[0], model[2]):
        nn.init.constant_(layer.weight, 0.5)
    result, said = pruned(model, "synflow", 0.8, input_shape=(8,), scope=scope)
    assert (said and result.ties.iteration == 1) or (scope == "global" and result.ties.share > 0.5)


def test_zeros_that_are_gone_in_the_end_decided_nothing():
    model = mlp()
    with torch.no_grad():
        model[0].weight[:16] = 0  # half of the hidden neurons are dead, with scores of 0
        model[0].bias[:16] = -1
    result, said = pruned(model, "iter_snip", 0.9, data=DATA, iterations=20)
    assert result.ties.kept == 0 and not said


def test_few_ties_are_counted_and_not_worth_a_warning():
    model = nn.Linear(20, 20, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.arange(1.0, 401.0).view(20, 20))
        model.weight[5, 0] = 100  # a pair with the 100 before it, of which one is removed
    result, said = pruned(model, "magnitude", 100 / 400)
    assert (result.ties.kept, result.ties.removed, result.ties.score) == (1, 1, 100)
    assert result.ties.share == 1 / 300 and result.ties.layers == {"weight": 2} and not said


def test_healthy_nets_have_no_ties_and_no_noise():
    for scorer, options in (("synflow", {"input_shape": (3, 16, 16)}), ("snip", {"data": IMAGES}), ("magnitude", {})):
        result, said = pruned(convnet(nn.BatchNorm2d, padding=1), scorer, 0.7, **options)
        assert result.ties.share < 0.01 and not said, scorer


def test_a_run_records_and_shows_them(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ["architecture=timm", "architecture.model=resnet18", "sparsity=0.95", "train=false"]
    done = command(*arguments, "scorer=snip", "sample.per_class=1")
    assert done.code == 0
    (row,) = [json.loads(path.read_text()) for path in tmp_path.glob("runs/**/result.json")]
    assert row["ties"]["share"] > 0.5 and "layer4.1.conv2.weight" in row["ties"]["unscored"]
    assert "zero_init_last=False" in row["ties"]["told"]
    assert f"{100 * row['ties']['share']:.2f} % of the kept weights were chosen by position, " in done.out
