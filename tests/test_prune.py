"""`prune_init.prune` as a user meets it."""

import copy
import json
import warnings
from functools import partial

import pytest
import torch
from torch import nn

import prune_init
from prune_init import InputError
from prune_init.pruning.schedule import linear


def small_cnn() -> nn.Sequential:
    """Convolution, batch norm, dropout, classifier: everything that scoring could disturb."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(0.5),
        nn.Conv2d(6, 8, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32, 3),
    )


def batches():
    x = torch.randn(9, 2, 8, 8, generator=torch.Generator().manual_seed(1))
    return [(x[:6], torch.arange(6) % 3), (x[6:], torch.arange(3))]


def run(model, scorer, sparsity=0.9, **options):
    return prune_init.prune(model, scorer, sparsity, input_shape=(2, 8, 8), data=batches(), **options)


ALL = prune_init.scorers()


@pytest.mark.parametrize(("scope", "iterations"), [("global", 1), ("global", 4), ("layer", 1), ("layer", 4)])
@pytest.mark.parametrize("scorer", ["synflow", "grasp", "force", "random_erk"])
def test_exactly_k_weights_stay_and_the_rest_is_zero(scorer, scope, iterations):
    model = small_cnn()
    result = run(model, scorer, 0.93, scope=scope, iterations=iterations)
    total = 6 * 2 * 9 + 8 * 6 * 9 + 32 * 3
    kept = round((1 - 0.93) * total)
    weights = dict(model.named_parameters())
    assert list(result.masks) == ["0.weight", "5.weight", "8.weight"]
    assert sum(int(m.sum()) for m in result.masks.values()) == kept
    assert result.sparsity == pytest.approx(1 - kept / total)
    assert all((weights[name][~mask] == 0).all() for name, mask in result.masks.items())
    assert all((weights[name][mask] != 0).all() for name, mask in result.masks.items())
    assert [layer.kept for layer in result.layers] == [int(m.sum()) for m in result.masks.values()]


@pytest.mark.parametrize(("mode", "training"), [("train", False), ("eval", True)])
@pytest.mark.parametrize("scorer", ALL)
def test_scoring_changes_nothing_but_the_masks(scorer, mode, training):
    model = small_cnn().train(training)
    model[1].eval()  # flags need not agree
    model[0].weight.requires_grad_(False)
    model[8].weight.grad = torch.ones_like(model[8].weight)
    before = copy.deepcopy(model.state_dict())
    flags = [m.training for m in model.modules()]
    random = torch.get_rng_state()
    result = run(model, scorer, 0.5, mode=mode, iterations=2)
    assert torch.equal(torch.get_rng_state(), random)
    assert [m.training for m in model.modules()] == flags
    assert not model[0].weight.requires_grad and (model[8].weight.grad == 1).all()
    assert all(p.grad is None for name, p in model.named_parameters() if name != "8.weight")
    for name, tensor in model.state_dict().items():
        expected = before[name] * result.masks[name] if name in result.masks else before[name]
        assert torch.equal(tensor, expected), name


def test_flags_and_weights_survive_a_scorer_that_fails():
    model = small_cnn().train()
    before = copy.deepcopy(model.state_dict())

    def broken(net):
        net(net.masked_weights(), net.batches[0][0])
        raise ZeroDivisionError

    random = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError):
        run(model, broken, mode="eval")
    assert all(m.training for m in model.modules()) and torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_another_seed_gives_other_masks():
    found = [run(small_cnn(), "random", generator=torch.Generator().manual_seed(seed)).masks for seed in (3, 4)]
    assert any(not torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_train_and_eval_mode_give_different_snip_masks():
    model = small_cnn()
    with torch.no_grad():
        model[1].running_mean.uniform_(-1, 1)
        model[1].running_var.uniform_(0.2, 5)
    found = [run(copy.deepcopy(model), "snip", 0.8, mode=mode).masks for mode in ("train", "eval")]
    assert any(not torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_published_defaults():
    model = small_cnn()
    assert prune_init.prune(model, input_shape=(2, 8, 8)).cost.passes == 100
    assert prune_init.prune(small_cnn(), "snip", data=batches()).cost.iterations == 1


def test_data_free_scorers_never_touch_the_data():
    def forbidden():
        raise AssertionError("touched")
        yield

    for scorer in ("synflow", "ntk_sap", "magnitude", "random"):
        prune_init.prune(small_cnn(), scorer, 0.5, input_shape=(2, 8, 8), data=forbidden())


def test_pruned_weights_do_not_come_back_in_later_iterations():
    seen = []

    def noisy(net):
        seen.append({name: mask.clone() for name, mask in net.masks.items()})
        return {name: torch.randn(w.shape) for name, w in net.weights.items()}

    result = run(small_cnn(), noisy, 0.9, iterations=6)
    for earlier, later in zip(seen, [*seen[1:], result.masks], strict=True):
        assert all((later[name] <= earlier[name]).all() for name in later)


def test_include_and_exclude():
    result = run(small_cnn(), "magnitude", 0.5, exclude="8.*")
    assert list(result.masks) == ["0.weight", "5.weight"]
    assert list(run(small_cnn(), "magnitude", 0.5, include=["5.*", "8.weight"]).masks) == ["5.weight", "8.weight"]


def test_a_tied_weight_is_scored_and_masked_once():
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.ReLU(), nn.Linear(4, 4, bias=False))
    model[2].weight = model[0].weight
    result = prune_init.prune(model, "synflow", 0.5, iterations=2, input_shape=(4,))
    assert list(result.masks) == ["0.weight"] and (model[2].weight == 0).sum() == 8


def test_the_models_own_input_shape_is_used():
    model = small_cnn()
    model.input_shape = (2, 8, 8)
    assert prune_init.prune(model).connected


NOTHING = torch.zeros(3, 32, dtype=torch.bool)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sparsity": 1.0}, "sparsity=1.0"),
        ({"sparsity": -0.1}, "sparsity=-0.1"),
        ({"sparsity": float("nan")}, "sparsity=nan"),
        ({"iterations": 0}, "iterations=0"),
        ({"scorer": "synflo"}, "did you mean synflow"),
        ({"schedule": "exponentail"}, "did you mean exponential"),
        ({"scope": "locall"}, "scope=locall"),
        ({"mode": "test"}, "mode=test"),
        ({"include": "nothing.*"}, r"include=nothing.\*"),
        ({"exclude": "*"}, "leaves no weight"),
        ({"scorer": "snip", "data": None}, "data=None"),
        ({"scorer": "snip", "data": []}, "at least one"),
        ({"input_shape": None}, "input_shape=None"),
        (
            {"scorer": "snip", "data": [(torch.zeros(2, 2, 8, 8), torch.tensor([0, 3]))]},
            r"labels 0\.\.3: allowed: 0\.\.2",
        ),
        ({"scorer": "snip", "data": [torch.zeros(3, 2, 8, 8)]}, "data=Tensor: allowed: .input, target. pairs"),
        ({"masks": {"0.weight": torch.ones(3, dtype=torch.bool)}}, r"masks=0\.weight"),
        ({"masks": [NOTHING]}, "masks=list: allowed: boolean tensors by weight name"),
        (
            {"masks": {"8.weight": NOTHING}, "sparsity": 0.1},
            "sparsity=0.1: masks leave 540 of 636 weights, which is fewer",
        ),
        ({"sparsity": "0.9"}, "sparsity=0.9: allowed: 0 <= sparsity < 1"),
        ({"sparsity": True}, "sparsity=True: allowed"),
        ({"iterations": True}, "iterations=True: allowed: whole numbers from 1"),
        ({"scorer": 3}, "scorer=3: allowed: a name"),
        ({"scorer": dict}, "scorer=<class 'dict'>: allowed: a name"),
        ({"scorer": lambda net: list(net.weights.values())}, "scorer=list: a scorer must return"),
        ({"schedule": 3}, "schedule=3: must give 100 densities from 0 to 1, the last one 0.02"),
        ({"schedule": lambda: [0.02]}, "schedule=<lambda>: fails for density 0.02, 100 iterations"),
        ({"schedule": lambda density, iterations: [density]}, "schedule=<lambda>: must give 100 densities"),
        ({"schedule": lambda density, iterations: [0.5] * iterations}, "the last one 0.02"),
        ({"input_shape": 8}, "input_shape=8: allowed: whole numbers from 1, such as"),
        ({"input_shape": (2, 8.0, 8)}, r"input_shape=\(2, 8.0, 8\): allowed"),
        ({"input_shape": (2, 0, 8)}, r"input_shape=\(2, 0, 8\): allowed"),
        ({"input_shape": (3, 8, 8)}, r"input_shape=\(3, 8, 8\): Sequential cannot be run on it: "),
        ({"scorer": "magnitude", "input_shape": (2, 9, 3)}, r"input_shape=\(2, 9, 3\): Sequential cannot be run on it"),
        ({"include": 3}, "include=3: allowed: a pattern of weight names, or a list"),
        ({"loss": 3}, "loss=3: allowed: a function"),
        ({"generator": 0}, "generator=0: allowed: a torch.Generator"),
        ({"dtype": "float64"}, "dtype=float64: allowed: a floating-point type"),
        ({"dtype": torch.int8}, r"dtype=torch.int8: allowed: a floating-point type"),
        ({"scorer": "snip", "data": 3}, "data=int: allowed: an iterable of"),
        ({"scorer": "snip", "data": batches()[0]}, r"data=Tensor: allowed: .input, target. pairs"),
        ({"scorer": "snip", "data": [(torch.zeros(0, 2, 8, 8), torch.arange(0))]}, r"data=inputs of \(0, 2, 8, 8\)"),
        ({"scorer": "snip", "data": [(torch.zeros(2, 2, 8, 8), torch.arange(3))]}, r"targets of \(3,\)"),
        ({"scorer": "snip", "data": [(torch.zeros(2, 8, 8), torch.tensor(1))]}, r"targets of \(\)"),
        (
            {"scorer": "snip", "data": [(torch.zeros(2, 3, 8, 8), torch.arange(2))]},
            r"data=inputs of \(2, 3, 8, 8\): Sequential cannot be run on it: Given groups=1",
        ),
        (
            {"scorer": "snip", "data": [(torch.zeros(2, 2, 8, 8), torch.ones(2))]},
            "data=targets of .*: the loss fails: ",
        ),
        (
            {"scorer": "snip", "loss": torch.nn.CrossEntropyLoss(reduction="none")},
            "loss=Cross.*: must return one number",
        ),
    ],
)
def test_bad_arguments_are_named_and_change_nothing(options, said):
    model = small_cnn()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(InputError, match=said) as caught:
        prune_init.prune(model, **{"input_shape": (2, 8, 8), "data": batches(), **options})
    assert "\n" not in str(caught.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_models_that_cannot_be_pruned():
    with pytest.raises(InputError, match="no Conv or Linear"):
        prune_init.prune(nn.Sequential(nn.BatchNorm2d(3)), input_shape=(3, 2, 2))
    for lazy in (nn.LazyLinear(3), nn.Sequential(nn.Linear(3, 3), nn.LazyBatchNorm1d())):
        with pytest.raises(InputError, match="no shape yet"):
            prune_init.prune(nn.Sequential(lazy), input_shape=(3,))
    with pytest.raises(
        InputError, match=r"model=0\.weight: is torch\.float32 on meta; allowed: real numbers in memory"
    ):
        prune_init.prune(small_cnn().to("meta"), "random")
    for other in (nn.Linear, "resnet18", small_cnn().state_dict(), None):
        with pytest.raises(InputError, match=r"model=\w+: allowed: a torch.nn.Module"):
            prune_init.prune(other, input_shape=(3,))


@pytest.mark.parametrize("look", [prune_init.connectivity, prune_init.compact, prune_init.conservation])
def test_what_looks_at_a_model_names_the_same_mistakes(look):
    for shape in ((1, 3, 8, 8), (1, 2, 20, 20)):
        with pytest.raises(InputError, match=r"input=\[1, .*\]: Sequential cannot be run on it: ") as caught:
            look(small_cnn(), torch.zeros(shape))
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"input=tuple: allowed: a tensor, a batch of the model's input"):
        look(small_cnn(), (2, 8, 8))
    with pytest.raises(InputError, match=r"input=\[0, 2, 8, 8\]: allowed: a batch of at least one example"):
        look(small_cnn(), torch.zeros(0, 2, 8, 8))
    with pytest.raises(InputError, match=r"model=str: allowed: a torch\.nn\.Module"):
        look("resnet18", torch.zeros(1, 2, 8, 8))


def test_weights_that_are_computed_stay_dense_and_are_named():
    model = small_cnn()
    nn.utils.parametrizations.weight_norm(model[5])
    with pytest.warns(UserWarning, match=r"left dense, because its weight is computed .*: 5$"):
        assert list(run(model, "magnitude").masks) == ["0.weight", "8.weight"]


def test_scores_that_are_not_finite_name_their_layer():
    model = small_cnn()
    with torch.no_grad():
        model[5].weight[0, 0, 0, 0] = float("inf")
    with pytest.raises(InputError, match=r"scores=5\.weight"):
        run(model, "magnitude")


def test_fewer_weights_than_layers_is_a_warning():
    with pytest.warns(UserWarning, match="2 weights for 3 layers"):
        run(small_cnn(), "magnitude", 1 - 2 / 636)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(small_cnn(), "magnitude", 1 - 3 / 636)


def test_masks_and_settings_are_saved_together(tmp_path):
    from safetensors import safe_open

    result = run(small_cnn(), "synflow", 0.9, iterations=7, schedule=partial(linear))
    result.save(tmp_path / "masks.safetensors")
    stored = prune_init.load_masks(tmp_path / "masks.safetensors")
    assert all(torch.equal(stored[name], mask) for name, mask in result.masks.items())
    with safe_open(tmp_path / "masks.safetensors", "pt") as file:
        kept = {key: file.metadata()[key] for key in ("iterations", "sparsity", "schedule", "scope", "mode")}
    expected = {"iterations": 7, "sparsity": 0.9, "schedule": "linear", "scope": "global", "mode": "eval"}
    assert {key: json.loads(value) for key, value in kept.items()} == expected


def test_masks_are_not_saved_nowhere(tmp_path):
    with pytest.raises(InputError, match=r"path=.*nowhere/masks: cannot be written \("):
        run(small_cnn(), "magnitude").save(tmp_path / "nowhere/masks")


def test_float64_scores_leave_a_float32_model():
    model = small_cnn()
    result = run(model, "synflow", 0.9, iterations=2)
    assert {s.dtype for s in result.scores.values()} == {torch.float64}
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_the_ledger_counts_passes_and_operations():
    x, y = torch.randn(5, 4), torch.arange(5) % 2

    def cost(scorer, **options):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 3, bias=False), nn.ReLU(), nn.Linear(3, 2, bias=False))
        return prune_init.prune(model, scorer, 0.3, input_shape=(4,), data=[(x, y)], **options).cost.as_dict()

    def counts(scorer, **options):
        return {key: cost(scorer, **options)[key] for key in ("passes", "forward", "backward", "hessian")}

    assert counts("snip") == {"passes": 5, "forward": 5, "backward": 5, "hessian": 0}
    assert counts("snip", iterations=3) == {"passes": 15, "forward": 15, "backward": 15, "hessian": 0}
    assert counts("grasp") == {"passes": 5, "forward": 10, "backward": 10, "hessian": 5}
    assert counts("synflow") == {"passes": 100, "forward": 100, "backward": 100, "hessian": 0}
    assert counts("magnitude") == {"passes": 0, "forward": 0, "backward": 0, "hessian": 0}
    # A multiply-add is two; forward 12 + 6, back 12 for the first weights, 6 + 6 for the second and what lies below.
    assert cost("snip")["flops"] == 2 * 5 * ((12 + 6) + (12 + 6 + 6))
    assert cost("synflow", iterations=10)["flops"] == 10 * 2 * ((12 + 6) + (12 + 6 + 6))
    assert cost("magnitude")["flops"] == 0
