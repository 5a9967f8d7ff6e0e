"""Realistic nets and situations at the smallest size, each compared with the correct value."""

import contextlib
import copy
import dataclasses
import warnings
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

import prune_init
from prune_init import InputError
from prune_init.training.losses import cross_entropy

LABELS = torch.randint(0, 4, (40,), generator=torch.Generator().manual_seed(0))
ROWS = torch.rand(40, 8, generator=torch.Generator().manual_seed(1))
ALL = [name for name in prune_init.scorers() if name != "ntk_sap"]


def mlp(outputs: int = 4) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, outputs))


def pruned(model, scorer="synflow", sparsity=0.6, **options):
    given = {"input_shape": (8,), "data": [(ROWS.clone(), LABELS)], **options}
    return prune_init.prune(model, scorer, sparsity, generator=torch.Generator().manual_seed(0), **given)


def same(one, other):
    return all(torch.equal(mask, other.masks[name]) for name, mask in one.masks.items())


class Normalises(nn.Module):
    """Normalises its input in place, or a copy of it."""

    def __init__(self, copies):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.out, self.copies = nn.Linear(8, 8), nn.Linear(8, 4), copies

    def forward(self, x):
        x = x.clone() if self.copies else x
        return self.out(F.relu(self.a(x.sub_(0.5).div_(0.25)), inplace=True))


@pytest.mark.parametrize("scorer", prune_init.scorers())
def test_a_net_that_writes_to_its_input_changes_neither_data_nor_masks(scorer):
    x = ROWS.clone()
    options = {"iterations": 4, "data": [(x[:25], LABELS[:25]), (x[25:], LABELS[25:])]}
    assert same(pruned(Normalises(False), scorer, **options), pruned(Normalises(True), scorer, **options))
    assert torch.equal(x, ROWS)


class Counts(nn.Module):
    """Updates a buffer, even in eval mode, and its output depends on the buffer."""

    def __init__(self, writes):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.out, self.writes, self.calls = nn.Linear(8, 8), nn.Linear(8, 4), writes, 0
        self.register_buffer("seen", torch.zeros(8))
        self.plain, self.history = torch.zeros(8), []

    def forward(self, x):
        hidden = self.a(x) + self.seen + self.plain.to(x) + len(self.history)
        if self.writes == "buffer":
            with torch.no_grad():
                self.seen.add_(hidden.mean(0))
        elif self.writes == "data":
            self.seen.data.mul_(0.5).add_(hidden.detach().mean(0))
        elif self.writes == "late" and hidden.sum() > 0:
            self.seen = self.seen + 1
        elif self.writes == "attributes":
            self.plain += 1
            self.calls += 1
            self.history.append(hidden)
        return self.out(hidden.relu())


@pytest.mark.parametrize("scorer", ["synflow", "iter_snip", "force", "grasp", "prospr", "ntk_sap"])
@pytest.mark.parametrize("writes", ["buffer", "data", "late", "attributes"])
def test_every_pass_sees_the_state_of_the_first(writes, scorer):
    model = Counts(writes)
    assert same(pruned(model, scorer, iterations=3), pruned(Counts(""), scorer, iterations=3))
    assert not model.seen.any() and not model.plain.any() and not model.calls and not model.history


@pytest.mark.parametrize("writes", ["buffer", "data", "attributes"])
def test_what_looks_at_a_net_leaves_its_state(writes):
    for look in (prune_init.connectivity, prune_init.compact, prune_init.conservation):
        model = Counts(writes)
        with contextlib.suppress(InputError, NotImplementedError):
            look(model, torch.ones(1, 8))
        assert torch.equal(model.seen, torch.zeros(8)) and not model.plain.any() and not model.calls, look
        model(ROWS)


class Recomputes(torch.autograd.Function):
    """Recomputes a part of the net in the backward pass, as reversible nets do."""

    @staticmethod
    def forward(ctx, part, x, *parameters):
        ctx.part = part
        ctx.save_for_backward(x)
        with torch.no_grad():
            return part(x)

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            y = ctx.part(x)
        found = torch.autograd.grad(y, [x, *ctx.part.parameters()], g)
        return (None, *found)


@pytest.mark.parametrize("scorer", ["snip", "grasp", "iter_snip", "synflow"])
def test_a_net_that_runs_itself_again_in_the_backward_pass_is_refused(scorer):
    class Reversible(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.out = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 4)

        def forward(self, x):
            return self.out(Recomputes.apply(self.b, self.a(x), *self.b.parameters()).relu())

    model = Reversible()
    with pytest.raises(InputError, match="model=Reversible: recomputes parts in the backward pass"):
        pruned(model, scorer)
    assert all(p.grad is None for p in model.parameters())


class Constrained(nn.Linear):
    """Constrains its weights in its forward pass, in one of several usual ways."""

    def __init__(self, how):
        torch.manual_seed(0)
        super().__init__(8, 8)
        self.how = how

    def forward(self, x):
        if self.how == "no_grad":
            with torch.no_grad():
                self.weight.clamp_(-0.1, 0.1)
        elif self.how == "data":
            self.weight.data.clamp_(-0.1, 0.1)
        else:
            self.weight.data = torch.renorm(self.weight.data, 2, 0, 0.1)
        return super().forward(x)


@pytest.mark.parametrize("scorer", ["snip", "synflow", "grasp"])
@pytest.mark.parametrize("how", ["no_grad", "data", "rebound"])
def test_a_net_that_writes_to_its_weights_is_refused(how, scorer):
    model = nn.Sequential(Constrained(how), nn.ReLU(), nn.Linear(8, 4))
    before = model[0].weight.detach().clone()
    with pytest.raises(InputError, match="model=Sequential: its forward writes to its weights"):
        pruned(model, scorer)
    assert torch.equal(model[0].weight, before)


class Checkpointed(nn.Module):
    """Recomputes parts of itself in the backward pass, by one of torch's checkpointing functions."""

    def __init__(self, how):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.c, self.out = nn.Linear(8, 16), nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 4)
        self.how = how

    def part(self, t):
        return F.relu(self.c(F.relu(self.b(t))))

    def forward(self, x):
        x = F.relu(self.a(x))
        if self.how == "sequential":
            layers = nn.Sequential(self.b, nn.ReLU(), self.c, nn.ReLU())
            return self.out(checkpoint_sequential(layers, 2, x, use_reentrant=False))
        return self.out(self.part(x) if self.how == "plain" else checkpoint(self.part, x, use_reentrant=self.how))


@pytest.mark.parametrize("scorer", ALL)
@pytest.mark.parametrize("how", [True, False, "sequential"])
def test_activation_checkpointing_changes_no_mask(how, scorer):
    one, plain = (pruned(Checkpointed(h), scorer, 0.8, iterations=3) for h in (how, "plain"))
    assert same(one, plain) and one.effective_sparsity == plain.effective_sparsity is not None


def test_losses_of_ones_own_decide_what_targets_mean():
    x, random = ROWS, torch.Generator().manual_seed(3)

    def bce(output, y):
        return F.binary_cross_entropy_with_logits(output[:, 0], y.float())

    by_hand = mlp(1)
    gradients = torch.autograd.grad(bce(by_hand(x), LABELS % 2), [by_hand[0].weight, by_hand[2].weight])
    found = pruned(mlp(1), "snip", 0.5, data=[(x[:7], LABELS[:7] % 2), (x[7:], LABELS[7:] % 2)], loss=bce)
    for (name, score), w, g in zip(
        found.scores.items(), (by_hand[0].weight, by_hand[2].weight), gradients, strict=True
    ):
        assert torch.allclose(score, (w * g).abs().detach(), rtol=1e-4, atol=1e-9), name
    targets = torch.randn(40, 4, generator=random)
    assert pruned(mlp(), "grasp", 0.5, data=[(x, targets)], loss=F.mse_loss).sparsity == 0.5
    assert pruned(mlp(), "prospr", 0.5, data=[(x, targets)], loss=F.mse_loss).sparsity == 0.5
    several = (targets > 0).float()
    assert pruned(mlp(), "snip", 0.5, data=[(x, several)], loss=F.binary_cross_entropy_with_logits).sparsity == 0.5
    assert pruned(mlp(), "snip", 0.5, data=[(x, None)], loss=lambda o, _: o.square().mean()).sparsity == 0.5


@pytest.mark.parametrize("label", [-100, 255])
def test_ignored_labels_do_not_count(label):
    ignored = LABELS.clone()
    ignored[10:30] = label
    counted = ignored != label
    options = {"dtype": torch.float64, "loss": None if label == -100 else nn.CrossEntropyLoss(ignore_index=label)}
    expected = pruned(mlp(), "snip", data=[(ROWS[counted], LABELS[counted])], **options)
    for cuts in ([40], [15, 25], [10, 20, 10]):  # the last one has a batch in which no label counts
        data = list(zip(ROWS.split(cuts), ignored.split(cuts), strict=True))
        found = pruned(mlp(), "snip", data=data, **options)
        assert all(torch.allclose(found.scores[n], s, rtol=1e-10) for n, s in expected.scores.items()), cuts
    found, expected = (
        pruned(mlp(), "prospr", data=[data], **options) for data in ((ROWS, ignored), (ROWS[counted], LABELS[counted]))
    )
    assert found == expected


@pytest.mark.parametrize(
    "loss",
    [
        partial(cross_entropy, weights=[1.0, 2.0, 3.0, 9.0]),
        nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 3.0, 9.0], dtype=torch.float64)),
        nn.NLLLoss(),
    ],
    ids=["ours", "torch", "NLL"],
)
def test_batches_have_the_weight_of_their_labels(loss):
    labels = LABELS.clone()
    labels[:9] = -100
    labels[9:] = labels[9:].sort().values  # so that batches differ in their classes
    expected, *others = (
        pruned(
            mlp(),
            "snip",
            data=list(zip(ROWS.split(size), labels.split(size), strict=True)),
            loss=loss,
            dtype=torch.float64,
        )
        for size in (40, 15, 9)
    )
    for found in others:
        assert all(torch.allclose(found.scores[n], s, rtol=1e-10) for n, s in expected.scores.items())
    assert pruned(
        mlp(), "grasp_submission", data=[(ROWS[:9], labels[:9]), (ROWS, labels)], loss=loss, dtype=torch.float64
    )


def test_a_net_that_is_pruned_already():
    net = mlp()
    first = pruned(net, "magnitude", 0.5)
    with pytest.warns(UserWarning, match="192 weights are 0 already and count as not pruned; .* give masks="):
        assert pruned(copy.deepcopy(net), "random", 0.6).sparsity == pytest.approx(0.6, abs=2e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert pruned(net, "magnitude", 0.7, masks=first.masks).sparsity == pytest.approx(0.7, abs=2e-3)


def test_a_loss_is_a_mean():
    with pytest.raises(InputError, match="allowed: the mean over the batch"):
        pruned(mlp(), "snip", data=[(ROWS, LABELS)], loss=nn.CrossEntropyLoss(reduction="sum"))


def test_labels_that_say_nothing_or_do_not_exist_are_refused():
    with pytest.raises(InputError, match="data=labels that are all -100: allowed: at least one label that is not"):
        pruned(mlp(), "snip", data=[(ROWS, torch.full((40,), -100))])
    with pytest.raises(InputError, match=r"labels -1\.\.3: allowed: 0\.\.3 \(the net has 4 outputs\), or -100 to"):
        pruned(mlp(), "snip", data=[(ROWS, LABELS.clone().fill_(3).index_fill_(0, torch.tensor([0]), -1))])


def test_labels_may_be_those_of_pixels():
    pixels = nn.Sequential(nn.Conv2d(2, 4, 1))
    images, marks = torch.randn(3, 2, 5, 5), torch.randint(0, 4, (3, 5, 5))
    marks[0, 0, 0] = -100
    assert pruned(pixels, "snip", 0.5, input_shape=(2, 5, 5), data=[(images, marks)]).sparsity == 0.5


@dataclasses.dataclass
class Answer:
    """An output object, as libraries return it."""

    a: torch.Tensor
    b: torch.Tensor
    best: torch.Tensor


class AnswerDict(dict):
    """An output dictionary, as other libraries return it."""


class TwoHeads(nn.Module):
    """Returns its outputs in a structure."""

    def __init__(self, pack):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.pack = nn.Linear(8, 4), nn.Linear(8, 4), pack

    def forward(self, x):
        return self.pack(self.a(x), self.b(x))


PACKS = {
    "tuple": (lambda a, b: (a, b), lambda o: (o[0], o[1])),
    "list": (lambda a, b: [a, {"inner": b}], lambda o: (o[0], o[1]["inner"])),
    "dataclass": (lambda a, b: Answer(a, b, b.argmax(1)), lambda o: (o.a, o.b)),
    "mapping": (lambda a, b: AnswerDict(a=a, b=b, best=b.argmax(1)), lambda o: (o["a"], o["b"])),
}


@pytest.mark.parametrize("scorer", prune_init.scorers())
@pytest.mark.parametrize("kind", PACKS)
def test_what_a_net_returns_goes_to_the_loss_as_it_is(kind, scorer):
    pack, unpack = PACKS[kind]

    def loss(output, y):
        assert type(output) is type(pack(y[:, None], y[:, None]))
        return sum(F.cross_entropy(part, y) for part in unpack(output))

    def plain(output, y):
        return F.cross_entropy(output[:, :4], y) + F.cross_entropy(output[:, 4:], y)

    one = pruned(TwoHeads(pack), scorer, 0.5, loss=loss, iterations=2)
    other = pruned(TwoHeads(lambda a, b: torch.cat([a, b], 1)), scorer, 0.5, loss=plain, iterations=2)
    assert same(one, other) and one.connected


class Pair(nn.Module):
    """Takes two inputs."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.out = nn.Linear(8, 8), nn.Linear(3, 8), nn.Linear(8, 4)

    def forward(self, left, right):
        return self.out(F.relu(self.a(left) + self.b(right)))


@pytest.mark.parametrize("scorer", prune_init.scorers())
def test_what_a_net_takes_may_be_a_structure(scorer):
    left, right = ROWS, torch.rand(40, 3, generator=torch.Generator().manual_seed(4))
    found = []
    for x in ((left, right), [left, right], {"left": left, "right": right}):
        example = type(x)(t[:1] for t in x) if not isinstance(x, dict) else {k: t[:1] for k, t in x.items()}
        options = {"input_shape": None, "example_input": example, "data": [(x, LABELS)], "iterations": 2}
        found.append(pruned(Pair(), scorer, 0.5, **options))
    assert found[0].connected and found[0].effective_sparsity is not None
    assert same(found[0], found[1]) and same(found[0], found[2])


class Words(nn.Module):
    """Token ids in, classes out."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.table, self.a, self.out = nn.Embedding(20, 8), nn.Linear(8, 16), nn.Linear(16, 4)

    def forward(self, ids):
        return self.out(F.relu(self.a(self.table(ids).mean(1))))


@pytest.mark.parametrize("scorer", prune_init.scorers())
def test_token_ids_are_an_example_input(scorer):
    ids = torch.randint(0, 20, (40, 6), generator=torch.Generator().manual_seed(5))
    options = {"input_shape": None, "data": [(ids, LABELS)], "iterations": 2}
    result = pruned(Words(), scorer, 0.5, example_input=ids[:1], **options)
    assert result.sparsity == 0.5 and result.connected and list(result.masks) == ["a.weight", "out.weight"]


def test_a_loss_may_write_to_its_targets():
    def loss(output, y):
        y[y == 3] = -100
        return F.cross_entropy(output, y)

    labels = LABELS.clone()
    found = pruned(mlp(), "iter_snip", data=[(ROWS, labels)], loss=loss, iterations=3)
    assert torch.equal(labels, LABELS) and found.sparsity == pruned(mlp(), "snip").sparsity


def test_synflow_says_what_it_needs():
    with pytest.raises(InputError, match=r"input_shape=None: this scorer needs .* or example_input"):
        pruned(Words(), input_shape=None)
    with pytest.raises(InputError, match=r"input_shape=\(8,\): allowed: this or example_input, not both"):
        pruned(mlp(), example_input=ROWS[:1])
    with pytest.raises(InputError, match=r"example_input=str: allowed: a batch of the net's input"):
        pruned(mlp(), input_shape=None, example_input="x")


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("scorer", ["synflow", "snip", "grasp", "magnitude", "force", "prospr"])
def test_matrices_of_recurrent_layers_are_weights(kind, scorer):
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.cell, self.out = kind(8, 12, batch_first=True, num_layers=2, bidirectional=True), nn.Linear(24, 4)

        def forward(self, x):
            return self.out(self.cell(x)[0][:, -1])

    model = Recurrent()
    x = torch.randn(40, 3, 8, generator=torch.Generator().manual_seed(6))
    before = model(x)
    options = {"input_shape": (3, 8), "data": [(x, LABELS)], "iterations": 2}
    result = pruned(model, scorer, 0.0 if scorer == "random" else 0.3, **options)
    matrices = {n: p for n, p in model.named_parameters() if p.ndim == 2}
    assert list(result.masks) == list(matrices) and len(matrices) == 9
    assert sum(int((p == 0).sum()) for p in matrices.values()) == sum(int((~m).sum()) for m in result.masks.values())
    assert result.connected
    after = model(x)  # the model still has its own tensors and dtype
    assert after.dtype == torch.float32 and not torch.equal(after, before)
    after.sum().backward()
    assert model.cell.weight_hh_l1.grad is not None


def test_matrices_outside_known_layers_are_named_and_can_be_chosen():
    class Bare(nn.Module):
        def __init__(self):
            super().__init__()
            self.matrix, self.out = nn.Parameter(torch.randn(8, 16)), nn.Linear(16, 4)

        def forward(self, x):
            return self.out(F.relu(x @ self.matrix))

    with pytest.warns(UserWarning, match=r"left dense, .*: matrix \(65\.3% of all parameters\); use include="):
        result = pruned(Bare(), "magnitude", 0.0)
    assert result.connected and result.effective_sparsity == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(pruned(Bare(), "synflow", 0.5, include=["*", "matrix"]).masks) == ["matrix", "out.weight"]


def test_a_net_that_is_compiled_in_place_is_scored_eagerly():
    from torch._dynamo.utils import counters

    model = mlp()
    model.compile()
    counters.clear()
    assert same(pruned(model), pruned(mlp())) and not counters["frames"]


def test_casts_are_told_and_the_dtype_that_is_offered_works():
    class Casts(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.out, self.kernel = nn.Linear(8, 16), nn.Linear(16, 4), torch.eye(16)

        def forward(self, x):
            return self.out((self.a(x).clamp_min(0) @ self.kernel).float())

    with pytest.raises(InputError, match=r"computed in torch\.float64, .*: try dtype=torch\.float32$") as caught:
        pruned(Casts())
    assert "\n" not in str(caught.value)
    assert pruned(Casts(), dtype=torch.float32).connected


def test_what_looks_at_a_net_does_not_depend_on_the_default_dtype():
    torch.set_default_dtype(torch.float64)
    try:
        model = mlp().float()
        assert prune_init.conservation(model, ROWS[:1]).holds() and prune_init.compact(model, ROWS[:2]) is not None
    finally:
        torch.set_default_dtype(torch.float32)
