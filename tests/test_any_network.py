"""Networks of other libraries, one of each family: after pruning and a training step, pruned weights are still 0."""

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import prune_init
from prune_init.analysis.networks import INPUT_SHAPE, NETWORKS, examine
from prune_init.pruning.weights import prunable
from prune_init.scorers import named

pytestmark = pytest.mark.slow
pytest.importorskip("timm")
FOUR = ("SqueezeNet", "NFNet (scaled weights)", "ViT (timm)", "ConvNeXt (timm)")
CASES = [(name, scorer) for name in NETWORKS for scorer in ("synflow", "snip")]  # one without data, one with
CASES += [(name, s) for name in FOUR for s in prune_init.scorers() if (name, s) not in CASES]
SMALL = {"ntk_sap": named("ntk_sap", batches=1, batch_size=4)}
"""Smaller settings of scorers whose published sample would take minutes."""
HOMOGENEOUS = {
    "DenseNet",
    "ResNet (bottleneck)",
    "ResNeXt",
    "SqueezeNet",
    "GoogLeNet",
    "ShuffleNet V2",
    "RegNet",
    "MNASNet",
}


@pytest.fixture(scope="module")
def fresh():  # type: ignore[no-untyped-def]
    """A function that returns a copy of the network of a name, which is built only once."""
    built: dict[str, nn.Module] = {}

    def get(name: str) -> nn.Module:
        if name not in built:
            torch.manual_seed(0)
            built[name] = NETWORKS[name]()
        return copy.deepcopy(built[name])

    return get


@pytest.mark.parametrize(("name", "scorer"), CASES)
def test_pruned_and_trained_without_a_leak(fresh, name: str, scorer: str) -> None:  # type: ignore[no-untyped-def]
    net = fresh(name)
    net.train()
    next(iter(net.children())).eval()  # one mode flag differs from the others
    flags = {path: module.training for path, module in net.named_modules()}
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    torch.manual_seed(1)
    data = [(torch.randn(4, *INPUT_SHAPE), torch.arange(4))]
    random = torch.get_rng_state()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*paths.*")
        result = prune_init.prune(
            net,
            SMALL.get(scorer, scorer),
            0.9,
            iterations=None if scorer in ("snip", "magnitude", "random") else 2,
            input_shape=INPUT_SHAPE,
            data=data,
        )
    assert torch.equal(random, torch.get_rng_state())
    assert flags == {path: module.training for path, module in net.named_modules()}
    assert all(p.grad is None for p in net.parameters())
    weights = prunable(net)
    for key, tensor in net.state_dict().items():
        expected = before[key].masked_fill(~result.masks[key], 0) if key in weights else before[key]
        assert torch.equal(tensor, expected), key
    total = sum(w.numel() for w in weights.values())
    assert sum(int(mask.sum()) for mask in result.masks.values()) == round(0.1 * total)
    assert (result.connected is None) == (result.effective_sparsity is None)
    assert result.effective_sparsity is None or 0.9 - 1 / total <= result.effective_sparsity <= 1

    net.train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    result.keep(optimizer)
    F.cross_entropy(net(data[0][0]), data[0][1]).backward()
    optimizer.step()
    assert all((weight[~result.masks[key]] == 0).all() for key, weight in weights.items())
    assert any(not torch.equal(weight, before[key] * result.masks[key]) for key, weight in weights.items())


@pytest.mark.parametrize("name", NETWORKS)
def test_compacted_or_left_alone_and_the_law_is_not_guessed(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        row = examine(name, iterations=5)
    if row.parameters is not None:
        assert row.difference is not None and row.difference < 1e-4 and 0 < row.parameters <= 1
    if name in HOMOGENEOUS:
        assert row.broken == () and row.connected and row.parameters is not None and row.parameters < 0.9
    elif name in {"MobileNet V3", "ConvNeXt", "ViT", "Swin", "MLP-Mixer"}:
        assert row.broken is None or row.broken, "a net with GELU, SiLU or layer norm cannot conserve flow"
