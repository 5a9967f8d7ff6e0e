"""Random pruning: exact totals, layer densities and equal chances within a layer."""

import copy
from itertools import pairwise

import conformance_nets as nets
import conformance_reference as reference
import pytest
import torch
from conformance_library import pruned
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import prune_init

drawn = {
    "seed": st.integers(0, 2**30),
    "kind": st.sampled_from(list(nets.KINDS)),
    "iterations": st.integers(1, 5),
    "schedule": st.sampled_from(list(reference.SCHEDULES)),
    "sparsity": st.floats(0.05, 0.95),
}
properties = settings(max_examples=40, deadline=None, derandomize=True)


def kept(model, scorer, sparsity, seed, **options):
    masks = pruned(model, scorer, sparsity, generator=torch.Generator().manual_seed(seed), **options).masks
    return {name: int(mask.sum()) for name, mask in masks.items()}


def shapes(model):
    return {name: tuple(w.shape) for name, w in reference.Net(model, "eval", [], ()).weights.items()}


def sizes(model):
    return {name: w.numel() for name, w in reference.Net(model, "eval", [], ()).weights.items()}


@properties
@given(scorer=st.sampled_from(reference.RANDOM), **drawn)
def test_layer_scope_and_uniform_keep_the_same_fraction_of_every_layer(
    scorer, seed, kind, iterations, schedule, sparsity
):
    model = nets.drawn(kind, seed)
    keep = round((1 - sparsity) * sum(sizes(model).values()))
    scope = "global" if scorer == "random_uniform" else "layer"
    found = kept(model, scorer, sparsity, seed, iterations=iterations, schedule=schedule, scope=scope)
    assert found == reference.apportioned(sizes(model), keep)


@properties
@given(**drawn)
def test_erk_densities(seed, kind, iterations, schedule, sparsity):
    model = nets.drawn(kind, seed)
    keep = round((1 - sparsity) * sum(sizes(model).values()))
    found = kept(model, "random_erk", sparsity, seed, iterations=iterations, schedule=schedule)
    assert sum(found.values()) == keep
    for name, share in reference.erk(shapes(model), keep).items():
        assert abs(found[name] - share) <= 1, name


@properties
@given(**drawn)
def test_uniform_plus_densities(seed, kind, iterations, schedule, sparsity):
    """The first layer is dense, the last has at least 20 %, all others the same density; up to one weight."""
    model = nets.drawn(kind, seed)
    (first, dense), *others = sizes(model).items()
    *middle, (last, size) = others
    keep = round((1 - sparsity) * sum(sizes(model).values()))
    found = kept(model, "random_uniform_plus", sparsity, seed, iterations=iterations, schedule=schedule)
    assert sum(found.values()) == keep
    left = keep - dense
    if left / sum(n for _, n in others) < 0.2:
        others, left = middle, left - 0.2 * size
        if left <= 0:  # the budget is too small for that
            assert found == reference.apportioned(sizes(model), keep)
            return
        assert abs(found[last] - 0.2 * size) <= 1
    assert found[first] == dense
    for name, n in others:
        assert abs(found[name] - left * n / sum(n for _, n in others)) <= 1, name


def layers(*widths):
    return nn.Sequential(*(nn.Linear(*pair) for pair in pairwise(widths)))


def test_uniform_plus_by_hand():
    found = kept(layers(6, 40, 40, 3), "random_uniform_plus", 0.9, 0)  # 196 weights; the first layer alone has 240
    assert min(found.values()) > 0
    assert list(kept(layers(6, 10, 10), "random_uniform_plus", 0.1, 0).values()) == [60, 84]  # now it suffices
    assert kept(layers(6, 3), "random_uniform_plus", 0.5, 0) == {"0.weight": 9}
    model = nets.drawn("residual", 1)
    assert kept(model, "random_uniform_plus", 0.7563480083603166, 1)["0.weight"] == model[0].weight.numel()


@pytest.mark.parametrize("scorer", reference.RANDOM)
@pytest.mark.parametrize("iterations", [1, 2])
def test_every_weight_of_a_layer_has_the_same_chance(scorer, iterations):
    """In 200 draws each frequency is within five standard deviations of its layer's density."""
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    draws = 200
    counts = {name: torch.zeros(shape) for name, shape in shapes(model).items()}
    for seed in range(draws):
        generator = torch.Generator().manual_seed(seed)
        result = prune_init.prune(copy.deepcopy(model), scorer, 0.4, iterations=iterations, generator=generator)
        for name, mask in result.masks.items():
            counts[name] += mask
    for count in counts.values():
        density = float(count.mean()) / draws
        deviation = (density * (1 - density) / draws) ** 0.5
        assert ((count / draws - density).abs() <= 5 * deviation + 1e-6).all()
    if scorer == "random":
        assert {round(float(count.mean()) / draws, 1) for count in counts.values()} == {0.6}
