"""General laws that scores and masks obey for any weights and data."""

import copy
import math
from itertools import pairwise

import conformance_nets as nets
import conformance_reference as reference
import pytest
import torch
from conformance_library import pruned, same, scored
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

SCORERS = list(reference.SCORES)
SURVIVORS_ONLY = [name for name in SCORERS if name != "force"]
CHAINS = ["mlp", "conv", "pooled"]

properties = settings(max_examples=20, deadline=None, derandomize=True)
seeds = st.integers(0, 2**30)
sparsities = st.floats(0.3, 0.95)


def clear_cut(model, scorer, mode, data, sparsity, iterations=1):
    """Skip the rare net whose masks depend on rounding."""
    net = reference.Net(model, mode, data, nets.input_shape(model))
    assume(reference.prune(scorer, net, sparsity, iterations).margin > 1e-9)


def proportional(found, expected):
    """The common factor between two sets of scores, or None."""
    ratios = torch.cat([(found[name] / expected[name]).flatten() for name in expected])
    return float(ratios[0]) if ratios.allclose(ratios[0], rtol=1e-9, atol=0) else None


# Masks along the iterations -----------------------------------------------------------------------------------------


def densities(schedule, sparsity, iterations):
    return [reference.SCHEDULES[schedule](1 - sparsity, t, iterations) for t in range(1, iterations + 1)]


@properties
@given(
    seed=seeds,
    scorer=st.sampled_from([*SURVIVORS_ONLY, *reference.RANDOM]),
    schedule=st.sampled_from(list(reference.SCHEDULES)),
    scope=st.sampled_from(["global", "layer"]),
    kind=st.sampled_from(list(nets.KINDS)),
    iterations=st.integers(2, 5),
    sparsity=sparsities,
)
def test_masks_only_shrink_and_counts_are_exact(seed, scorer, schedule, scope, kind, iterations, sparsity):
    """The masks after t of T iterations are found by running a schedule of its first t steps."""
    model, steps = nets.drawn(kind, seed), densities(schedule, sparsity, iterations)
    total, before = sum(w.numel() for w in reference.Net(model, "eval", [], ()).weights.values()), None
    for t in range(1, iterations + 1):
        masks = pruned(
            model,
            scorer,
            1 - steps[t - 1],
            iterations=t,
            schedule=lambda _, t: steps[:t],
            scope=scope,
            mode="eval",
            data=nets.sample(model, seed),
            generator=torch.Generator().manual_seed(seed),
        ).masks
        assert sum(int(mask.sum()) for mask in masks.values()) == round(steps[t - 1] * total)
        assert before is None or all((mask <= before[name]).all() for name, mask in masks.items())
        before = masks


def test_force_takes_a_weight_back_and_iterative_snip_does_not():
    """Only example i, with target t, uses weight i: its score is |w (w - t)|, and |w t| once it is pruned."""
    model = nn.Sequential(nn.Linear(6, 1, bias=False)).double()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[4.0, 1, 1, 1, 1, 1]]))
    targets = torch.tensor([[4.0], [4], [5], [6], [7], [8]], dtype=torch.float64)
    data = [(torch.eye(6, dtype=torch.float64), targets)]

    def kept(scorer):
        steps = [5 / 6, 1 / 6]
        result = pruned(model, scorer, 5 / 6, iterations=2, schedule=lambda *_: steps, data=data, loss=F.mse_loss)
        return result.masks["0.weight"].flatten().nonzero().flatten().tolist()

    assert kept("force") == [0]
    assert kept("iter_snip") == [5]


def test_snip_it_halves_five_times():
    model = nets.drawn("conv", 1)
    data, shape = nets.sample(model, 1), nets.input_shape(model)
    total = sum(w.numel() for w in reference.Net(model, "eval", data, shape).weights.values())
    counts = []

    class Watched(type(scored("iter_snip"))):
        shrinks = False  # so that the scorer gets whole masks to count

        def __call__(self, net):
            counts.append(sum(int(mask.sum()) for mask in net.masks.values()))
            return super().__call__(net)

    found = pruned(model, Watched(), 0.98, iterations=6, schedule="halving", data=data)
    assert counts == [total, *(round(total / 2**t) for t in range(1, 6))]
    expected = reference.prune("snip", reference.Net(model, "eval", data, shape), 0.98, 6, "halving")
    assert expected.margin > 1e-9 and same(found.masks, expected.masks)


# SNIP and GraSP -----------------------------------------------------------------------------------------------------


@properties
@given(
    seed=seeds,
    scorer=st.sampled_from(["snip", "iter_snip", "force", "grasp"]),
    kind=st.sampled_from(list(nets.KINDS)),
    iterations=st.integers(1, 3),
    sparsity=sparsities,
    split=st.lists(st.integers(1, 13), min_size=1, max_size=4, unique=True),
)
def test_in_eval_mode_neither_order_nor_split_of_the_data_matters(seed, scorer, kind, iterations, sparsity, split):
    model = nets.drawn(kind, seed)
    ((x, y),) = whole = nets.sample(model, seed, (14,))
    clear_cut(model, scorer, "eval", whole, sparsity, iterations)
    order = torch.randperm(14, generator=torch.Generator().manual_seed(seed))
    parts = list(zip(x[order].tensor_split(sorted(split)), y[order].tensor_split(sorted(split)), strict=True))
    found, expected = (
        pruned(model, scorer, sparsity, iterations=iterations, mode="eval", data=data) for data in (parts, whole)
    )
    assert same(found.masks, expected.masks)
    torch.testing.assert_close(found.scores, expected.scores, rtol=1e-9, atol=1e-14)


@properties
@given(
    seed=seeds,
    mode=st.sampled_from(["train", "eval"]),
    kind=st.sampled_from(["mlp", "conv", "normed", "residual", "pooled"]),
    sparsity=sparsities,
    factor=st.floats(1e-3, 1e3),
)
def test_snip_asks_for_the_order_of_slopes_not_for_the_unit_of_the_loss(seed, mode, kind, sparsity, factor):
    model = nets.drawn(kind, seed)
    data = nets.sample(model, seed)
    clear_cut(model, "snip", mode, data, sparsity)
    expected = pruned(model, "snip", sparsity, mode=mode, data=data)
    found = pruned(
        model, "snip", sparsity, mode=mode, data=data, loss=lambda output, y: factor * F.cross_entropy(output, y)
    )
    turned = pruned(model, "snip", sparsity, mode=mode, data=data[::-1])
    assert same(found.masks, expected.masks) and same(turned.masks, expected.masks)


@pytest.mark.parametrize("kind", ["normed", "residual"])
def test_snip_depends_on_the_mode_of_norm_layers(kind):
    model = nets.drawn(kind, 3)
    data = nets.sample(model, 3)
    train, evaluation, default = (pruned(model, "snip", mode=mode, data=data).masks for mode in ("train", "eval", None))
    assert not same(train, evaluation) and same(default, evaluation)


def test_grasp_removes_the_largest_of_minus_w_hg():
    """Computed with an explicit H; removed are the weights whose shrinking lowers |g|^2 least."""
    model = nets.drawn("mlp", 5)
    data = nets.sample(model, 5, (11,))
    net = reference.Net(model, "train", data, (6,))
    sizes = [w.numel() for w in net.weights.values()]
    vector = torch.cat([w.flatten() for w in net.weights.values()])

    def loss(vector):
        parts = zip(net.weights.items(), vector.split(sizes), strict=True)
        return reference.mean_loss(net, {name: part.view_as(w) for (name, w), part in parts}, data, 200.0)

    g, hessian = torch.func.grad(loss)(vector), torch.autograd.functional.hessian(loss, vector)
    scores = (-vector * (hessian @ g)).detach()  # as published, where the largest scores are removed
    result = pruned(model, "grasp", 0.6, data=data)
    found = torch.cat([score.flatten() for score in result.scores.values()])
    torch.testing.assert_close(-found, scores, rtol=1e-9, atol=1e-13 * float(scores.abs().max()))
    kept = torch.cat([mask.flatten() for mask in result.masks.values()])
    assert scores[~kept].min() > scores[kept].max()
    wrong = torch.cat([m.flatten() for m in pruned(model, "grasp_submission", 0.6, data=data).masks.values()])
    assert (scores[wrong].mean() > scores[~wrong].mean()) and (scores[kept].mean() < scores[~kept].mean())

    step = 1e-4
    for index in range(0, len(vector), 7):
        shrunk, grown = vector.clone(), vector.clone()
        shrunk[index] *= 1 - step
        grown[index] *= 1 + step
        norms = [float((torch.func.grad(loss)(v).detach() ** 2).sum()) for v in (shrunk, grown)]
        gained = (norms[0] - norms[1]) / (4 * step)  # d(|g|^2 / 2) as the weight shrinks
        assert gained == pytest.approx(float(scores[index]), rel=1e-4, abs=1e-6 * float(scores.abs().max()))


# SynFlow ------------------------------------------------------------------------------------------------------------


class Scaled(nn.Sequential):
    factor = 1.0

    def forward(self, x):
        return super().forward(self.factor * x)


class Shortcut(nn.Module):
    """A net with two paths from input to output, so not a chain of layers."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.skip = (nn.Linear(*shape, bias=False) for shape in ((6, 8), (8, 3), (6, 3)))

    def forward(self, x):
        return self.second(torch.relu(self.first(x))) + self.skip(x)


@properties
@given(
    seed=seeds,
    scorer=st.sampled_from(["synflow", "synflow_l2", "synflow_l2 power=1"]),
    kind=st.sampled_from(CHAINS),
    iterations=st.integers(1, 4),
    sparsity=sparsities,
    factor=st.floats(1e-3, 1e3),
)
def test_synflow_sees_neither_signs_nor_the_scale_of_the_input(seed, scorer, kind, iterations, sparsity, factor):
    model = nets.drawn(kind, seed, bias=False)
    clear_cut(model, scorer, "eval", [], sparsity, iterations)
    expected = pruned(model, scorer, sparsity, iterations=iterations)
    model = Scaled(*model)
    model.factor = factor
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for w in model.parameters():
            w *= 2 * torch.randint(2, w.shape, generator=generator) - 1
    found = pruned(model, scorer, sparsity, iterations=iterations)
    assert same(found.masks, expected.masks)
    assert proportional(*live(found, expected)) == pytest.approx(factor)


def live(*results):
    """The nonzero scores; those of pruned weights and of dead ends are 0."""
    for result in results:
        for name, score in results[0].scores.items():
            assert torch.equal(score == 0, result.scores[name] == 0)
    return [{name: score[score != 0] for name, score in result.scores.items()} for result in results]


@properties
@given(
    seed=seeds,
    scorer=st.sampled_from(["synflow", "synflow_l2"]),
    kind=st.sampled_from(CHAINS),
    iterations=st.integers(1, 4),
    sparsity=sparsities,
    factors=st.lists(st.floats(0.05, 20), min_size=4, max_size=4),
)
def test_rescaled_layers_of_a_chain_give_every_synflow_score_the_same_factor(
    seed, scorer, kind, iterations, sparsity, factors
):
    model = nets.drawn(kind, seed, bias=False)
    clear_cut(model, scorer, "eval", [], sparsity, iterations)
    expected = pruned(model, scorer, sparsity, iterations=iterations)
    factors = factors[: len(list(model.parameters()))]
    with torch.no_grad():
        for w, factor in zip(model.parameters(), factors, strict=True):
            w *= factor
    found = pruned(model, scorer, sparsity, iterations=iterations)
    assert same(found.masks, expected.masks)
    power = 2 if scorer == "synflow_l2" else 1
    assert proportional(*live(found, expected)) == pytest.approx(math.prod(factors) ** power)


def test_rescaling_a_layer_matters_where_paths_join_and_to_the_form_that_is_not_conserved():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        joined = Shortcut().double()
    chain = nets.drawn("mlp", 0, bias=False)
    for model, layer, scorer in ((joined, joined.skip, "synflow"), (chain, chain[0], "synflow_l2 power=1")):
        before = pruned(model, scorer, 0, iterations=1).scores, pruned(model, scorer, iterations=3).masks
        with torch.no_grad():
            layer.weight *= 5
        after = pruned(model, scorer, 0, iterations=1).scores, pruned(model, scorer, iterations=3).masks
        assert proportional(after[0], before[0]) is None and not same(after[1], before[1])


@properties
@given(seed=seeds, kind=st.sampled_from(CHAINS), sparsity=st.floats(0.0, 0.8), iterations=st.integers(1, 4))
def test_synflow_is_conserved_through_every_layer(seed, kind, sparsity, iterations):
    """Theorem 2: in a chain without biases the scores of each layer sum to R of the scored net, masked or not."""
    model = nets.drawn(kind, seed, bias=False)
    net = reference.Net(model, "eval", [], nets.input_shape(model))
    for scorer, power in (("synflow", 1), ("synflow_l2", 2)):
        masks = pruned(model, scorer, sparsity, iterations=iterations, schedule="linear").masks
        steps = [*densities("linear", sparsity, iterations), 0.1]
        scores = pruned(model, scorer, 0.9, iterations=iterations + 1, schedule=lambda *_, s=steps: s).scores
        flow = float(reference.flow(net, {name: w.abs() ** power * masks[name] for name, w in net.weights.items()}))
        assert [float(score.sum()) for score in scores.values()] == pytest.approx([flow] * len(scores), rel=1e-12)


@properties
@given(seed=seeds)
def test_synflow_is_conserved_at_every_hidden_neuron(seed):
    """Theorem 1: incoming and outgoing scores have equal sums; a bias, if it is used, adds to the incoming ones."""
    model = nets.drawn("mlp", seed, bias=True)
    for biases in (False, True):
        layers = pruned(model, scored("synflow", biases=biases), 0, iterations=1).scores.values()
        for before, after in pairwise(layers):
            from_biases = after.sum(0) - before.sum(1)
            assert (from_biases > 0).all() if biases else from_biases.abs().max() < 1e-13 * after.sum()


# Arithmetic ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scorer", sorted({*SCORERS} - {"grasp_official"}))  # its new classifier depends on the dtype
@pytest.mark.parametrize("kind", ["conv", "residual"])
def test_a_float32_net_scored_in_float64_is_that_net_in_float64(scorer, kind):
    narrow = nets.drawn(kind, 7).float()
    data = [(x.float(), y) for x, y in nets.sample(narrow, 7)]
    expected = pruned(
        copy.deepcopy(narrow).double(), scorer, iterations=2, mode="eval", data=[(x.double(), y) for x, y in data]
    )
    exact, near = (
        pruned(narrow, scorer, iterations=2, mode="eval", data=data, dtype=dtype)
        for dtype in (torch.float64, torch.float32)
    )
    assert same(exact.masks, expected.masks) and same(exact.scores, expected.scores)
    flips = sum(int((near.masks[name] != mask).sum()) for name, mask in expected.masks.items())
    assert flips <= 0.02 * sum(mask.numel() for mask in expected.masks.values())
    assert {score.dtype for score in near.scores.values()} == {torch.float32}
