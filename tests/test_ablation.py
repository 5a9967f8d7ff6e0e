"""Ablations, effective targets and critical compression on small nets."""

import copy
import math
from functools import partial

import pytest
import torch
from torch import nn

import prune_init
from prune_init.analysis.critical_compression import critical_compression
from prune_init.pruning.ablation import invert, reinitialise, shuffle
from prune_init.pruning.effective import to_effective_sparsity


def net(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(20, 30, bias=False), nn.ReLU(), nn.Linear(30, 30, bias=False), nn.ReLU(), nn.Linear(30, 5, bias=False)
    )


def pruner(**options):
    return partial(prune_init.prune, **{"scorer": "synflow", "sparsity": 0.9, "input_shape": (20,), **options})


CHANCE = {"generator": torch.Generator().manual_seed(0), "fresh": lambda: net(seed=1)}


def test_shuffling_moves_weights_within_their_layers():
    plain, shuffled = net(), net()
    before = pruner()(plain)
    after = shuffle(pruner(), shuffled, **CHANCE)
    assert [row.kept for row in after.layers] == [row.kept for row in before.layers]
    for name, mask in after.masks.items():
        assert not torch.equal(mask, before.masks[name])
        assert torch.equal(shuffled.get_parameter(name), net().get_parameter(name) * mask)
    assert before.effective_sparsity < after.effective_sparsity  # unlike SynFlow, chance keeps weights off a path


def test_reinitialising_keeps_the_mask_and_nothing_else():
    model = net()
    result = reinitialise(pruner(), model, **CHANCE)
    assert all(torch.equal(mask, pruner()(net()).masks[name]) for name, mask in result.masks.items())
    for name, mask in result.masks.items():
        assert torch.equal(model.get_parameter(name), net(seed=1).get_parameter(name) * mask)


def test_reinitialising_refuses_to_change_nothing():
    pretrained = net().state_dict()

    def fresh():
        model = net(seed=2)
        model.load_state_dict(pretrained)
        return model

    model = net()
    with pytest.raises(prune_init.InputError, match=r"^ablation=reinitialise: needs an architecture with random"):
        reinitialise(pruner(), model, **{**CHANCE, "fresh": fresh})
    assert all(torch.equal(tensor, pretrained[name]) for name, tensor in model.state_dict().items())


def test_inverting_keeps_what_would_go_first():
    kept = invert(pruner(scorer=prune_init.scorers.named("magnitude"), sparsity=0.5), net(), **CHANCE).masks
    plain = pruner(scorer="magnitude", sparsity=0.5)(net()).masks
    assert all(torch.equal(kept[name], ~plain[name]) for name in kept)


def test_inverted_scorers_keep_their_protocol():
    result = invert(pruner(scorer=prune_init.scorers.named("synflow", iterations=7)), net(), **CHANCE)
    assert result.cost.passes == 7 and {s.dtype for s in result.scores.values()} == {torch.float64}


@pytest.mark.parametrize("target", [0.8, 0.9, 0.95])
def test_effective_sparsity_is_as_near_to_the_target_as_it_can_be(target):
    prune = pruner(scorer="magnitude", sparsity=target)
    result = to_effective_sparsity(prune, net())
    assert result.sparsity < target and result.connected
    found = [prune(net(), sparsity=1 - k / 1650).effective_sparsity for k in range(1, 700)]
    assert abs(result.effective_sparsity - target) == min(abs(value - target) for value in found if value < 1)


@pytest.mark.parametrize("scorer", ["random", "random_uniform"])
def test_the_effective_sparsity_that_the_search_found_is_what_comes_out(scorer):
    def prune():
        return pruner(scorer=scorer, sparsity=0.95, generator=torch.Generator().manual_seed(3))

    result = to_effective_sparsity(prune(), net())
    again = prune()(net(), sparsity=result.sparsity)  # one call, with the same seed
    assert all(torch.equal(mask, again.masks[name]) for name, mask in result.masks.items())
    nearby = [prune()(net(), sparsity=result.sparsity + d / 1650).effective_sparsity for d in (-1, 1)]
    assert abs(result.effective_sparsity - 0.95) <= min(abs(value - 0.95) for value in nearby)


@pytest.mark.parametrize("bound", [False, True], ids=["passed", "bound"])
def test_all_trials_score_the_same_batches_however_they_are_given(bound):
    def once():
        random = torch.Generator().manual_seed(len(reads))
        reads.append(1)
        yield torch.randn(40, 20, generator=random), torch.arange(40) % 5

    class Shuffled:
        def __iter__(self):
            return once()

    found = []
    for make in (lambda: list(once()), once, Shuffled):
        reads: list[int] = []
        options = {"data": make()}
        prune = pruner(scorer="snip", sparsity=0.95, **(options if bound else {}))
        found.append(to_effective_sparsity(prune, net(), **({} if bound else options)).masks)
        assert reads == [1]
    for masks in found[1:]:
        assert all(torch.equal(mask, found[0][name]) for name, mask in masks.items())


def test_a_target_that_needs_no_correction_is_met_at_once():
    result = to_effective_sparsity(pruner(), net())
    assert result.sparsity == pytest.approx(0.9, abs=1e-3) and result.effective_sparsity == result.sparsity
    # Pruned to the target, then to sparsity 0, then to the target again.
    assert result.cost.passes == 3 * prune_init.prune(net(), input_shape=(20,)).cost.passes == 300
    assert result.cost.ledger.forward == result.cost.ledger.backward == 300 and result.cost.flops > 0


def test_synflow_reaches_maximal_critical_compression_and_magnitude_does_not():
    model = net()
    before = copy.deepcopy(model.state_dict())
    found = critical_compression(model, "synflow", input_shape=(20,))
    assert found.kept == 3 and found.critical == found.maximal == (600 + 900 + 150) / 3
    assert found.maximal_exponent == pytest.approx(math.log10(550))
    assert critical_compression(model, "magnitude", input_shape=(20,)).critical < found.critical
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_critical_compression_agrees_with_a_scan():
    model = net()

    def connected(k):
        return prune_init.prune(copy.deepcopy(model), "magnitude", 1 - k / 1650, input_shape=(20,)).connected

    least = next(k for k in range(4, 1651) if connected(k))
    found = critical_compression(model, "magnitude", input_shape=(20,), resolution=1.0)
    assert found.kept == least


@pytest.mark.parametrize("counts", ["nearest", "published"])
def test_critical_compression_counts_the_weights_that_were_kept(counts):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))
    found = critical_compression(model, "magnitude", input_shape=(5,), resolution=1.0, counts=counts)
    pruned = [
        prune_init.prune(copy.deepcopy(model), "magnitude", 1 - k / 66, input_shape=(5,), counts=counts)
        for k in range(3, 67)
    ]
    least = next(result for result in pruned if result.connected)
    assert found.kept == sum(layer.kept for layer in least.layers) and found.critical == 66 / found.kept


@pytest.mark.parametrize("scorer", [None, dict, 3])
def test_critical_compression_refuses_what_is_no_scorer(scorer):
    with pytest.raises(prune_init.InputError, match=r"scorer=.*: allowed: a name"):
        critical_compression(net(), scorer, input_shape=(20,))
