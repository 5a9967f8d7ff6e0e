"""The public contract of scorers: our scorers keep it, and every violation is named."""

import itertools
import random
from dataclasses import dataclass

import pytest
import torch

import prune_init
from prune_init import InputError
from prune_init.scorers import named


@pytest.mark.parametrize("name", prune_init.scorers())
def test_our_own_scorers_keep_the_contract(name):
    assert prune_init.check_scorer(named(name, batches=1, batch_size=8) if name == "ntk_sap" else name) is None


def shapes(net):
    return {name: w.new_zeros(3) for name, w in net.weights.items()}


def unseeded(net):
    return {name: torch.rand_like(w) for name, w in net.weights.items()}


def eager(net):
    """Uses Python's random numbers."""
    return {name: torch.rand_like(w) * random.random() for name, w in net.weights.items()}


def counting(net, calls=itertools.count(1)):  # noqa: B008
    """Gives other scores at every call."""
    return {name: w.flatten().roll(next(calls)).view_as(w) for name, w in net.weights.items()}


def rewriting(net):
    with torch.no_grad():
        next(net.model.parameters()).mul_(2)
    return {name: w.abs() for name, w in net.weights.items()}


def forgetful(net):
    next(iter(net.masks.values())).fill_(True)
    return {name: w.abs() for name, w in net.weights.items()}


def unweighted(net):
    """Gives all batches the same weight, whatever their size."""
    weights = net.masked_weights()
    found = None
    for x, y in net.batches:
        gradient = net.gradient(net.loss(net(weights, x), y), weights, len(x))
        found = gradient if found is None else {name: found[name] + g for name, g in gradient.items()}
    return {name: (net.weights[name] * g).abs() for name, g in found.items()}


def writing(net):
    net.batches[0][0].mul_(0)
    return {name: w.abs() for name, w in net.weights.items()}


@dataclass(frozen=True)
class Mean:
    """Claims `shrinks`, although each score depends on the other remaining weights of the layer."""

    shrinks: bool = True

    def __call__(self, net):
        return {name: (w - w.mean()).abs() for name, w in net.weights.items()}


@pytest.mark.parametrize(
    ("scorer", "said"),
    [
        (shapes, "scorer=shapes: work on a small net: .* for weights"),
        (lambda net: None, "scorer=<lambda>: work on a small net: .* must return a dictionary with one score tensor"),
        (lambda net: 1 / 0, "scorer=<lambda>: not raise on a small net: ZeroDivisionError"),
        (counting, "scorer=counting: a scorer must give the same scores for the same seed: draw from net.generator"),
        (rewriting, "scorer=rewriting: a scorer must leave the model's 0.weight alone"),
        (forgetful, "scorer=forgetful: a scorer must leave net.masks alone"),
        (unweighted, "scorer=unweighted: a scorer must weigh each batch by its share of the examples"),
        (writing, "scorer=writing: a scorer must leave the data as they are"),
        (Mean(), "scorer=Mean: a scorer must not say shrinks=True"),
    ],
)
def test_what_breaks_the_contract_is_named(scorer, said):
    with pytest.raises(InputError, match=said) as caught:
        prune_init.check_scorer(scorer)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("scorer", [unseeded, eager])
def test_global_randomness_is_seeded_so_that_it_breaks_nothing(scorer):
    assert prune_init.check_scorer(scorer) is None


@dataclass(frozen=True)
class Twice:
    """Uses the gradients of two functions on the all-ones input."""

    shrinks: bool

    def __call__(self, net):
        net.once(lambda n: [t.abs_() for t in (*n.weights.values(), *n.others.values()) if t.is_floating_point()])
        weights = net.masked_weights()
        out = net(weights, net.ones)
        first = torch.autograd.grad(out.sum(), list(weights.values()), retain_graph=True)
        second = net.gradient(out.square().sum(), weights, 1)
        return {n: f * net.weights[n] + s * net.weights[n] for (n, s), f in zip(second.items(), first, strict=True)}


@dataclass(frozen=True)
class Apart:
    """Makes two forward passes at different weights before both gradients, as for a finite difference of scores."""

    shrinks: bool

    def __call__(self, net):
        net.once(lambda n: [t.abs_() for t in (*n.weights.values(), *n.others.values()) if t.is_floating_point()])
        near = {name: w.detach().requires_grad_() for name, w in net.weights.items()}
        far = {name: (w * 1.5).requires_grad_() for name, w in net.weights.items()}
        here, there = net(near, net.ones), net(far, net.ones)
        one, other = net.gradient(here.sum(), near, 1), net.gradient(there.sum(), far, 1)
        return {name: net.weights[name] * (one[name] + other[name]) for name in one}


@pytest.mark.parametrize("scorer", [Twice, Apart])
def test_every_pass_and_every_gradient_is_its_own(scorer):
    def masks(shrinks):
        from prune_init.contract import SHAPE, convolutional

        result = prune_init.prune(
            convolutional(), scorer(shrinks), 0.97, iterations=20, input_shape=SHAPE, dtype=torch.float64
        )
        return result.masks, result.scores

    (fast, fast_scores), (slow, slow_scores) = masks(True), masks(False)
    assert all(torch.equal(fast[name], slow[name]) for name in slow)
    assert all(torch.allclose(fast_scores[n][fast[n]], slow_scores[n][slow[n]], rtol=1e-12) for n in slow)
    assert prune_init.check_scorer(scorer(True)) is None
