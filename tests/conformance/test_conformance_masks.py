"""Masks and scores of every scorer, mode, schedule and scope, compared with the reference on random nets."""

import random
from collections import Counter
from itertools import product

import conformance_nets as nets
import conformance_reference as reference
import pytest
import torch
from conformance_library import same, scored
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import prune_init

EDGE = 1e-9  # relative distance below which rounding may change the order of scores

COSTLY = ("ntk_sap", "prospr")  # slow in the reference, so tested with fewer schedules and scopes
CASES = [
    (scorer, mode, schedule, scope)
    for scorer, mode, schedule, scope in product(
        reference.SCORES, ("train", "eval"), reference.SCHEDULES, ("global", "layer")
    )
    if not scorer.startswith(COSTLY) or (schedule, scope) in (("exponential", "global"), ("linear", "layer"))
]


@pytest.fixture(scope="module")
def tally():
    """Counts nets that are drawn again because rounding decides their masks; there may be only few of them."""
    counts = Counter()
    yield counts
    assert counts["redrawn"] <= max(1, counts["cases"] // 50), counts


@pytest.fixture
def one_draw_per_shape(monkeypatch):
    monkeypatch.setattr(nn.init, "xavier_normal_", lambda tensor, **_: tensor.copy_(reference.xavier(tensor.shape)))


def kinds(scorer, mode):
    """Kinds of nets to test: no dropout in train mode, and no batch statistics of SynFlow's single example."""
    left_out = {"dropped"} if mode == "train" else set()
    if mode == "train" and scorer.startswith("synflow"):
        left_out |= {"normed", "residual"}
    return [kind for kind in nets.KINDS if kind not in left_out]


@pytest.mark.parametrize(("scorer", "mode", "schedule", "scope"), CASES)
def test_masks_and_scores(scorer, mode, schedule, scope, tally, one_draw_per_shape):
    for kind in kinds(scorer, mode):
        dice = random.Random(f"{scorer} {mode} {schedule} {scope} {kind}")
        expected = None
        while expected is None or expected.margin < EDGE:
            tally["redrawn"] += expected is not None
            seed, iterations, sparsity = dice.getrandbits(30), dice.randint(1, 5), dice.uniform(0.3, 0.95)
            model = nets.drawn(kind, seed)
            data, shape = nets.sample(model, seed), nets.input_shape(model)
            net = reference.Net(model, mode, data, shape, seed=seed)
            expected = reference.prune(scorer, net, sparsity, iterations, schedule, scope)
        tally["cases"] += 1
        found = prune_init.prune(
            model,
            scored(scorer),
            sparsity,
            iterations=iterations,
            schedule=schedule,
            scope=scope,
            mode=mode,
            data=data,
            input_shape=shape if scorer.startswith(("synflow", "ntk_sap")) else None,
            generator=torch.Generator().manual_seed(seed),
        )
        assert same(found.masks, expected.masks), (kind, seed, iterations, sparsity)
        size = max(float(score.abs().max()) for score in expected.scores.values())
        for name, live in expected.candidates.items():
            torch.testing.assert_close(
                found.scores[name][live], expected.scores[name][live], rtol=1e-10, atol=1e-12 * size
            )


def whole(generator, *shape, low=-2, high=2):
    return torch.randint(low, high + 1, shape, generator=generator).double()


def linear_loss(output, target):
    """A loss whose gradient is the target, so that whole numbers stay whole."""
    return (output * target).sum() / len(output)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**30),
    scorer=st.sampled_from(["magnitude", "snip", "iter_snip", "force", "synflow", "synflow_l2"]),
    scope=st.sampled_from(["global", "layer"]),
    iterations=st.integers(1, 3),
    sparsity=st.floats(0.1, 0.9),
)
def test_among_equal_scores_the_earlier_weight_stays(seed, scorer, scope, iterations, sparsity):
    """With small whole numbers every score is exact, and most scores are tied."""
    generator = torch.Generator().manual_seed(seed)
    model = nn.Sequential(nn.Linear(4, 5, bias=False), nn.ReLU(), nn.Linear(5, 4, bias=False)).double()
    with torch.no_grad():
        for w in model.parameters():
            w.copy_(whole(generator, *w.shape))
    data = [(whole(generator, n, 4), whole(generator, n, 4)) for n in (6, 2)]
    net = reference.Net(model, "eval", data, (4,), linear_loss)
    expected = reference.prune(scorer, net, sparsity, iterations, scope=scope)
    found = prune_init.prune(
        model,
        scorer,
        sparsity,
        iterations=iterations,
        scope=scope,
        mode="eval",
        data=data,
        input_shape=(4,),
        loss=linear_loss,
    )
    assert same(found.masks, expected.masks) and same(found.scores, expected.scores, expected.candidates)
