"""`prune_init.prune` from a user's point of view."""

import copy
import json
import warnings
from functools import partial

import pytest
import torch
from torch import nn

import prune_init
from prune_init import InputError
from prune_init.contract import convolutional
from prune_init.pruning.schedule import linear


def batches():
    x = torch.randn(9, 2, 8, 8, generator=torch.Generator().manual_seed(1))
    return [(x[:6], torch.arange(6) % 3), (x[6:], torch.arange(3))]


def run(model, scorer, sparsity=0.9, **options):
    return prune_init.prune(model, scorer, sparsity, input_shape=(2, 8, 8), data=batches(), **options)


ALL = prune_init.scorers()


@pytest.mark.parametrize(("mode", "training"), [("train", False), ("eval", True)])
@pytest.mark.parametrize("scorer", ALL)
def test_scoring_changes_nothing_but_the_masks(scorer, mode, training):
    model = convolutional().train(training)
    model[1].eval()  # mode flags of submodules may differ
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


def test_data_free_scorers_never_touch_the_data():
    def forbidden():
        raise AssertionError("touched")
        yield

    for scorer in ("synflow", "ntk_sap", "magnitude", "random"):
        prune_init.prune(convolutional(), scorer, 0.5, input_shape=(2, 8, 8), data=forbidden())


def test_include_and_exclude():
    result = run(convolutional(), "magnitude", 0.5, exclude="8.*")
    assert list(result.masks) == ["0.weight", "5.weight"] and result.sparsity == 0.5
    assert [layer.kept for layer in result.layers] == [int(m.sum()) for m in result.masks.values()]
    assert list(run(convolutional(), "magnitude", 0.5, include=["5.*", "8.weight"]).masks) == ["5.weight", "8.weight"]


def test_a_tied_weight_is_scored_and_masked_once():
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.ReLU(), nn.Linear(4, 4, bias=False))
    model[2].weight = model[0].weight
    result = prune_init.prune(model, "synflow", 0.5, iterations=2, input_shape=(4,))
    assert list(result.masks) == ["0.weight"] and (model[2].weight == 0).sum() == 8


def test_the_models_own_input_shape_is_used():
    model = convolutional()
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
        ({"scorer": "snip", "data": [torch.zeros(3, 2, 8, 8)]}, "data=Tensor: allowed: .input, target. pairs"),
        ({"masks": {"0.weight": torch.ones(3, dtype=torch.bool)}}, r"masks=0\.weight"),
        ({"masks": [NOTHING]}, "masks=list: allowed: boolean tensors by weight name"),
        (
            {"masks": {"8.weight": NOTHING}, "sparsity": 0.1},
            "sparsity=0.1: the masks already leave only 540 of 636 weights",
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
    model = convolutional()
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
        prune_init.prune(convolutional().to("meta"), "random")
    for other in (nn.Linear, "resnet18", convolutional().state_dict(), None):
        with pytest.raises(InputError, match=r"model=\w+: allowed: a torch.nn.Module"):
            prune_init.prune(other, input_shape=(3,))


@pytest.mark.parametrize("look", [prune_init.connectivity, prune_init.compact, prune_init.conservation])
def test_what_looks_at_a_model_names_the_same_mistakes(look):
    for shape in ((1, 3, 8, 8), (1, 2, 20, 20)):
        with pytest.raises(InputError, match=r"input=\[1, .*\]: Sequential cannot be run on it: ") as caught:
            look(convolutional(), torch.zeros(shape))
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"input=tuple: allowed: a tensor, a batch of the model's input"):
        look(convolutional(), (2, 8, 8))
    with pytest.raises(InputError, match=r"input=\[0, 2, 8, 8\]: allowed: a batch of at least one example"):
        look(convolutional(), torch.zeros(0, 2, 8, 8))
    with pytest.raises(InputError, match=r"model=str: allowed: a torch\.nn\.Module"):
        look("resnet18", torch.zeros(1, 2, 8, 8))


def test_weights_that_are_computed_stay_dense_and_are_named():
    model = convolutional()
    nn.utils.parametrizations.weight_norm(model[5])
    with pytest.warns(UserWarning, match=r"left dense, because its weight is computed .*: 5$"):
        assert list(run(model, "magnitude").masks) == ["0.weight", "8.weight"]


def test_fewer_weights_than_layers_is_a_warning():
    with pytest.warns(UserWarning, match="2 weights for 3 layers"):
        run(convolutional(), "magnitude", 1 - 2 / 636)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(convolutional(), "magnitude", 1 - 3 / 636)


def test_masks_and_settings_are_saved_together(tmp_path):
    from safetensors import safe_open

    result = run(convolutional(), "synflow", 0.9, iterations=7, schedule=partial(linear))
    result.save(tmp_path / "masks.safetensors")
    stored = prune_init.load_masks(tmp_path / "masks.safetensors")
    assert all(torch.equal(stored[name], mask) for name, mask in result.masks.items())
    with safe_open(tmp_path / "masks.safetensors", "pt") as file:
        kept = {key: file.metadata()[key] for key in ("iterations", "sparsity", "schedule", "scope", "mode")}
    expected = {"iterations": 7, "sparsity": 0.9, "schedule": "linear", "scope": "global", "mode": "eval"}
    assert {key: json.loads(value) for key, value in kept.items()} == expected


def test_masks_are_not_saved_nowhere(tmp_path):
    with pytest.raises(InputError, match=r"path=.*nowhere/masks: cannot be written \("):
        run(convolutional(), "magnitude").save(tmp_path / "nowhere/masks")


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
    # A multiply-add counts two. Forward 12 + 6; backward 12 for the first weights, 6 + 6 for the second and its input.
    assert cost("snip")["flops"] == 2 * 5 * ((12 + 6) + (12 + 6 + 6))
    assert cost("synflow", iterations=10)["flops"] == 10 * 2 * ((12 + 6) + (12 + 6 + 6))
    assert cost("magnitude")["flops"] == 0
