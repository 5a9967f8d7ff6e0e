"""Scoring has no side effects, refuses invalid scores, and is reproducible."""

import copy
import random
from itertools import pairwise

import conformance_nets as nets
import conformance_reference as reference
import numpy as np
import pytest
import torch
from conformance_library import pruned, same, scored
from torch import nn
from torch.nn import functional as F

import prune_init
from prune_init import InputError

SCORERS = [*reference.SCORES, *reference.RANDOM]
DATA_DRIVEN = ["snip", "iter_snip", "force", "grasp", "grasp_official", "grasp_submission", "prospr"]


def test_every_scorer_has_its_reference():
    assert {name.partition(" ")[0] for name in SCORERS} == set(prune_init.scorers())


@pytest.mark.parametrize(
    ("scorer", "published"),
    [
        ("snip", {"iterations": 1, "mode": "eval", "examples_per_class": 10}),
        ("iter_snip", {"mode": "eval", "examples_per_class": 10}),
        ("force", {"mode": "train", "examples_per_class": 10, "revives": True}),
        ("grasp", {"iterations": 1, "mode": "train", "examples_per_class": 10, "temperature": 200}),
        ("grasp_official", {"iterations": 1, "mode": "train", "examples_per_class": 10, "temperature": 200}),
        ("grasp_submission", {"iterations": 1, "mode": "eval"}),
        ("synflow", {"iterations": 100, "mode": "eval", "dtype": torch.float64, "biases": True}),
        ("synflow_l2", {"iterations": 100, "mode": "eval", "dtype": torch.float64, "power": 2}),
        ("prospr", {"iterations": 1, "mode": "train", "examples_per_class": 10, "steps": 3, "rate": 0.1}),
        ("ntk_sap", {"iterations": 20, "mode": "train", "batches": 5, "batch_size": 100, "epsilon": 0.01}),
    ],
)
def test_published_defaults(scorer, published):
    assert {key: getattr(scored(scorer), key) for key in published} == published


def global_states():
    return torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("scorer", SCORERS)
def test_the_same_seed_gives_the_same_bits_and_global_randomness_is_untouched(scorer, mode):
    """Also with active dropout, and when global random numbers are drawn in between."""
    kinds = ["dropped", "conv"] + ["normed"] * (mode == "eval" or not scorer.startswith("synflow"))
    for kind in kinds:
        model = nets.drawn(kind, 11)
        data = nets.sample(model, 11)
        results = []
        for _ in range(2):
            torch.rand(3)
            before = global_states()
            generator = torch.Generator().manual_seed(5)
            results.append(pruned(model, scorer, iterations=2, mode=mode, data=data, generator=generator))
            assert global_states() == before
        assert same(results[0].masks, results[1].masks) and same(results[0].scores, results[1].scores)


def test_without_a_generator_the_global_seed_decides():
    model = nets.drawn("mlp", 2)
    with torch.random.fork_rng():
        found = []
        for seed in (1, 1, 2):
            torch.manual_seed(seed)
            torch.rand(len(found))
            found.append(pruned(model, "random").masks)
    assert same(found[0], found[1]) and not same(found[0], found[2])


def test_dropout_is_at_work_in_train_mode_only():
    model = nets.drawn("dropped", 4)
    data = nets.sample(model, 4)
    for mode, equal in (("train", False), ("eval", True)):
        first, second = (
            pruned(model, "snip", mode=mode, data=data, generator=torch.Generator().manual_seed(seed)).scores
            for seed in (1, 2)
        )
        assert same(first, second) == equal


def test_fresh_classifiers_are_drawn_in_the_order_of_the_layers(monkeypatch):
    """If the order changed from process to process, a seed would not determine the masks."""
    order, draw = [], nn.init.xavier_normal_
    monkeypatch.setattr(
        nn.init, "xavier_normal_", lambda tensor, **options: order.append(tensor.shape[0]) or draw(tensor, **options)
    )
    widths = [6, 4, 5, 7, 8, 9, 10, 3]
    model = nn.Sequential(*(nn.Linear(*pair) for pair in pairwise(widths))).double()
    pruned(model, "grasp_official", data=nets.sample(model, 0))
    assert order == widths[1:]


# Scores that are not finite -----------------------------------------------------------------------------------------


def changed(model, before):
    return any(not torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("iteration", [1, 3])
def test_a_score_that_is_not_finite_stops_with_the_name_of_its_layer(value, iteration):
    model, seen = nets.drawn("residual", 0), []
    before = copy.deepcopy(model.state_dict())

    def scorer(net):
        seen.append(net)
        scores = {name: w.abs() for name, w in net.weights.items()}
        if len(seen) == iteration:
            scores["2.shortcut.weight"].view(-1)[1] = value
        return scores

    with pytest.raises(InputError, match=r"2\.shortcut\.weight"):
        prune_init.prune(model, scorer, 0.5, iterations=5)
    assert len(seen) == iteration and not changed(model, before)


@pytest.mark.parametrize("scorer", DATA_DRIVEN)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_bad_data_do_not_become_masks(scorer, value):
    model = nets.drawn("conv", 0)
    data, before = nets.sample(model, 0), copy.deepcopy(model.state_dict())
    data[1][0][2, 0, 3, 3] = value
    with pytest.raises(InputError, match=r"0\.weight"):
        prune_init.prune(model, scorer, 0.5, data=data, iterations=1)
    assert not changed(model, before)


@pytest.mark.parametrize("scorer", ["synflow", "synflow_l2", "synflow_l2 power=1"])
def test_an_overflowing_flow_stops(scorer):
    model = nets.drawn("conv", 0)
    with torch.no_grad():
        for w in model.parameters():
            w *= 1e120
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(InputError, match=r"0\.weight"):
        prune_init.prune(model, scored(scorer), 0.5, input_shape=(2, 6, 6), iterations=2)
    assert not changed(model, before)


# Failure while scoring ----------------------------------------------------------------------------------------------


class Faulty(nn.Module):
    """Raises an error after a number of forward passes."""

    def __init__(self, passes):
        super().__init__()
        self.passes = passes

    def forward(self, x):
        self.passes -= 1
        if self.passes < 0:
            raise RuntimeError("half way")
        return x


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("scorer", [name for name in SCORERS if not name.startswith(("magnitude", "random"))])
def test_everything_is_restored_when_scoring_raises(scorer, mode):
    model = nets.drawn("normed", 1)
    data = nets.sample(model, 1)
    model.append(Faulty(0 if scorer.startswith("synflow") else 1))
    model.train()
    model[1].eval()
    for parameter in (model[0].weight, model[4].running_mean, model[7].bias):
        parameter.requires_grad_(False)
    model[9].weight.grad = torch.ones_like(model[9].weight)

    def state():
        tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        grads = {name: None if t.grad is None else t.grad.tolist() for name, t in tensors.items()}
        flags = {name: t.requires_grad for name, t in tensors.items()}
        return [m.training for m in model.modules()], flags, grads, global_states(), torch.is_grad_enabled()

    before, tensors = state(), copy.deepcopy(model.state_dict())
    identities = {name: id(t) for name, t in [*model.named_parameters(), *model.named_buffers()]}
    with torch.no_grad(), pytest.raises((InputError, RuntimeError), match="half way"):
        prune_init.prune(model, scored(scorer), 0.5, iterations=2, mode=mode, data=data, input_shape=(2, 6, 6))
    assert state() == before and not changed(model, tensors)
    assert identities == {name: id(t) for name, t in [*model.named_parameters(), *model.named_buffers()]}


def test_a_loss_that_raises_restores_too():
    model = nets.drawn("normed", 1).train()
    data, before = nets.sample(model, 1), copy.deepcopy(model.state_dict())

    def loss(output, target):
        if len(target) == len(data[-1][1]):
            raise ZeroDivisionError
        return F.cross_entropy(output, target)

    with pytest.raises(ZeroDivisionError):
        prune_init.prune(model, "snip", 0.5, data=data, loss=loss)
    assert not changed(model, before) and all(module.training for module in model.modules())
