"""ProsPr compared with explicit training steps under a mask."""

import conformance_nets as nets
import conformance_reference as reference
import pytest
import torch
from conformance_library import pruned, same, scored
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

from prune_init import InputError


def smooth(seed, *inner):
    """A net with tanh in float64, so that finite differences converge; `inner` modules may be put in between."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), *inner, nn.Linear(5, 3)).double()


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("kind", ["mlp", "conv", "normed", "residual", "pooled"])
def test_without_steps_it_is_snip(kind, mode):
    """Up to rounding, because the examples come in another order."""
    model = nets.drawn(kind, 8)
    data = nets.sample(model, 8, (12,))
    found, expected = (pruned(model, scorer, mode=mode, data=data) for scorer in (scored("prospr", steps=0), "snip"))
    assert same(found.masks, expected.masks)
    torch.testing.assert_close(found.scores, expected.scores, rtol=1e-11, atol=1e-15)
    assert found.cost.ledger.forward == expected.cost.ledger.forward == 12 and found.cost.ledger.hessian == 0


def test_scores_are_finite_differences_of_the_loss_after_training():
    """Each mask entry is changed in turn, then torch's own SGD trains on the parts that the seed determines."""
    model = smooth(3)
    ((x, y),) = data = nets.sample(model, 3, (11,))
    generator = torch.Generator().manual_seed(4)
    torch.randint(2**62, (), generator=generator)  # for dropout
    *parts, last = torch.randperm(11, generator=generator).tensor_split(4)

    def loss_after(name, index, factor):
        trained = smooth(3)
        with torch.no_grad():
            dict(trained.named_parameters())[name].view(-1)[index] *= factor
        optimizer = torch.optim.SGD(trained.parameters(), lr=0.3)
        for part in parts:
            optimizer.zero_grad()
            F.cross_entropy(trained(x[part]), y[part]).backward()
            optimizer.step()
        return float(F.cross_entropy(trained(x[last]), y[last]).detach())

    scorer = scored("prospr", rate=0.3)
    found = pruned(model, scorer, 0, data=data, generator=torch.Generator().manual_seed(4)).scores
    step = 1e-5
    for name, score in found.items():
        for index in range(0, score.numel(), 4):
            up, down = (loss_after(name, index, 1 + sign * step) for sign in (1, -1))
            assert abs(up - down) / (2 * step) == pytest.approx(float(score.view(-1)[index]), rel=1e-6, abs=1e-9)


def test_the_steps_matter():
    model = nets.drawn("mlp", 0)
    data = nets.sample(model, 0, (20,))
    still, moving = (pruned(model, scored("prospr", rate=rate), data=data).scores for rate in (0.0, 0.1))
    assert max(float((moving[name] / score - 1).abs().max()) for name, score in still.items()) > 0.1


def test_both_passes_over_a_step_meet_the_same_dropout():
    """Otherwise the Hessian would belong to another loss; compared with a derivative through all steps."""
    model = smooth(1, nn.Dropout(0.4))
    data = nets.sample(model, 1, (16,))
    found = pruned(model, "prospr", 0, data=data, generator=torch.Generator().manual_seed(2))

    def drawn_seed():
        return int(torch.randint(2**62, (), generator=generator))

    generator = torch.Generator().manual_seed(2)
    drawn_seed()  # the seed for everything outside the steps
    *parts, last = torch.randperm(16, generator=generator).tensor_split(4)
    ((x, y),) = data
    values = start = {name: p.detach().requires_grad_() for name, p in model.named_parameters()}

    def loss(part):
        return F.cross_entropy(functional_call(model.train(), values, x[part]), y[part])

    with torch.random.fork_rng():
        for part in parts:
            torch.manual_seed(drawn_seed())
            slopes = torch.autograd.grad(loss(part), list(values.values()), create_graph=True)
            values = {name: v - 0.1 * slope for (name, v), slope in zip(values.items(), slopes, strict=True)}
        slopes = torch.autograd.grad(loss(last), list(start.values()))
    expected = {name: (w * slope).abs().detach() for (name, w), slope in zip(start.items(), slopes, strict=True)}
    for name, score in found.scores.items():
        torch.testing.assert_close(score, expected[name], rtol=1e-10, atol=1e-15)


def test_pruned_weights_stay_out_of_the_steps():
    """With masks given at the start, the scores are as if the pruned weights did not exist."""
    model = nets.drawn("conv", 6)
    data = nets.sample(model, 6)
    masks = pruned(model, "random", 0.5).masks
    with torch.no_grad():
        for name, mask in masks.items():
            dict(model.named_parameters())[name].mul_(mask)
    expected = reference.prospr(reference.Net(model, "train", data, (2, 6, 6)), masks)
    found = pruned(model, "prospr", 0.9, masks=masks, data=data, generator=torch.Generator().manual_seed(0))
    assert all((mask <= masks[name]).all() for name, mask in found.masks.items())
    for name, mask in masks.items():
        torch.testing.assert_close(found.scores[name], expected[name], rtol=1e-10, atol=1e-15)
        assert not found.scores[name][~mask].any()


def test_parts_keep_to_the_size_of_the_batches():
    """24 examples in batches of 3: no forward pass is larger, and every example counts once."""
    model, sizes = nets.drawn("normed", 2), []
    data = nets.sample(model, 2, (3,) * 8)
    net = reference.Net(model, "train", data, (2, 6, 6), seed=1)
    expected = reference.prospr(net, {name: torch.ones_like(w, dtype=torch.bool) for name, w in net.weights.items()})
    model.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    found = pruned(model, "prospr", data=data, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(found.scores, expected, rtol=1e-10, atol=1e-14)
    assert sizes == [3] * 14 + [1]  # the last pass searches for paths
    ledger = found.cost.ledger
    assert (found.cost.passes, ledger.forward, ledger.backward, ledger.hessian) == (24, 42, 42, 18)


def test_too_few_examples_and_a_negative_number_of_steps_are_refused():
    model = nets.drawn("mlp", 0)
    with pytest.raises(InputError, match="data=3 examples: ProsPr needs one for each of its 3 steps and one more"):
        pruned(model, "prospr", data=nets.sample(model, 0, (3,)))
    with pytest.raises(InputError, match="steps=-1: allowed: whole numbers from 0"):
        scored("prospr", steps=-1)
