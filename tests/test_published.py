"""Our layer densities compared with those that the SynFlow authors published."""

import copy
from statistics import mean

import pytest
import torch

from prune_init.analysis.published import compare, published
from prune_init.architectures.vgg import vgg
from prune_init.loop import prune


def test_the_published_table_is_whole():
    kept = published("synflow")
    assert len(kept) == 12 * 14 and {len(runs) for runs in kept.values()} == {3}
    # One published run at exponent 6 prunes every weight, because the published code removes ties at the threshold.
    assert sorted(sum(kept[6.0, layer][run] for layer in range(14)) for run in range(3)) == [0, 15, 15]


@pytest.mark.parametrize("scorer", ["magnitude", "random"])
def test_scorers_without_passes_agree_at_exponent_1(scorer):
    """One seed compared with the mean of three; the number k kept in a layer has a spread of about sqrt(k)."""
    for row in compare(scorer, [1.0], seeds=1):
        ours, theirs = mean(row.ours), mean(row.theirs)
        assert abs(ours - theirs) < 5 * theirs**0.5, row


@pytest.mark.slow
def test_synflow_agrees_at_exponent_2():
    """Within 5 % in every layer with more than 100 kept weights."""
    rows = compare("synflow", [2.0], seeds=1)
    assert len(rows) == 14
    assert max(abs(row.difference) for row in rows if mean(row.theirs) > 100) < 0.05


@pytest.mark.slow
def test_snip_in_eval_mode_has_the_published_layer_densities_and_in_train_mode_has_not():
    """With noise in place of CIFAR-100, since layer densities depend far more on the mode than on the images."""
    torch.manual_seed(0)
    model = vgg(16, num_classes=100, input_shape=(3, 32, 32))
    data = [(torch.randn(50, 3, 32, 32), torch.randint(100, (50,))) for _ in range(2)]
    theirs = [mean(published("snip")[2.0, layer]) for layer in range(14)]
    ratios = {}
    for mode in ("eval", "train"):
        rows = prune(copy.deepcopy(model), "snip", 0.99, mode=mode, data=data).layers
        ratios[mode] = [row.kept / kept for row, kept in zip(rows, theirs, strict=True)]
    assert min(ratios["eval"]) > 0.6 and max(ratios["eval"]) < 1.6
    assert max(ratios["train"][8:13]) < 0.1
