"""Architectures: published weight counts, initial weights, shapes, and one-line errors."""

import re
import sys
from collections.abc import Callable
from math import sqrt
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import nn

from prune_init.architectures.conv import conv
from prune_init.architectures.library import timm_model, torchvision_model
from prune_init.architectures.mlp import mlp
from prune_init.architectures.named import NETWORKS, named
from prune_init.architectures.resnet import resnet, thin_resnet, wide_resnet
from prune_init.architectures.vgg import vgg, vgg_tiny
from prune_init.errors import InputError

DATASETS = {
    "MNIST": (10, (1, 28, 28)),
    "Fashion-MNIST": (10, (1, 28, 28)),
    "CIFAR-10": (10, (3, 32, 32)),
    "CIFAR-100": (100, (3, 32, 32)),
    "Tiny-ImageNet": (200, (3, 64, 64)),
    "ImageNet": (1000, (3, 224, 224)),
}
CHOICES = sorted((Path(__file__).parents[1] / "conf" / "architecture").glob("*.yaml"))


def prunable(model: nn.Module) -> list[torch.Tensor]:
    return [layer.weight for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]


def size(model: nn.Module) -> tuple[int, int]:
    return sum(weight.numel() for weight in prunable(model)), len(prunable(model))


@pytest.mark.parametrize(
    ("build", "model", "dataset", "weights", "tensors"),
    [
        (vgg, 11, "CIFAR-10", 9_222_848, 9),
        (vgg, 11, "CIFAR-100", 9_268_928, 9),
        (vgg, 16, "CIFAR-10", 14_715_584, 14),
        (vgg, 16, "CIFAR-100", 14_761_664, 14),
        (vgg, 19, "CIFAR-10", 20_024_000, 17),
        (vgg_tiny, 11, "Tiny-ImageNet", 12_568_256, 11),
        (vgg_tiny, 16, "Tiny-ImageNet", 18_060_992, 16),
        (resnet, 18, "CIFAR-10", 11_164_352, 21),
        (resnet, 18, "CIFAR-100", 11_210_432, 21),
        (resnet, 18, "Tiny-ImageNet", 11_261_632, 21),
        (thin_resnet, 20, "CIFAR-10", 270_896, 22),
        (torchvision_model, "vgg16", "ImageNet", 138_344_128, 16),
        (torchvision_model, "vgg19", "ImageNet", 143_652_544, 19),
        (torchvision_model, "resnet18", "ImageNet", 11_678_912, 21),
        (torchvision_model, "resnet50", "ImageNet", 25_502_912, 54),
    ],
)
def test_published_weight_counts(
    build: Callable[..., nn.Module], model: int | str, dataset: str, weights: int, tensors: int
) -> None:
    with torch.device("meta"):
        network = build(model, *DATASETS[dataset])
    assert size(network) == (weights, tensors)


def test_weight_counts_of_the_smallest_networks() -> None:
    assert size(mlp(10, (1, 28, 28))) == (119_400, 6)
    assert size(conv(10, (1, 28, 28))) == (65_808, 5)


@pytest.mark.parametrize("path", CHOICES, ids=lambda path: path.stem)
def test_each_choice_builds_with_the_count_its_comment_gives(path: Path) -> None:
    comment = re.search(r"([\d,]+) prunable weights on ([\w-]+)\.", path.read_text().splitlines()[0])
    assert comment is not None
    num_classes, input_shape = DATASETS[comment[2]]
    dataset = {"num_classes": num_classes, "input_shape": list(input_shape)}
    config = OmegaConf.create({"architecture": OmegaConf.load(path), "dataset": dataset})
    arguments = OmegaConf.to_container(config, resolve=True)["architecture"]
    assert arguments.pop("name") == arguments.get("model", path.stem)
    with torch.device("meta"):
        network = instantiate(arguments)  # it passes lists as ListConfig
    assert size(network)[0] == int(comment[1].replace(",", ""))
    assert network.input_shape == input_shape and type(network.input_shape) is tuple
    if path.stem not in ("torchvision", "timm"):
        with torch.device("meta"):
            same = named(path.stem, num_classes, input_shape)
        assert [w.shape for w in same.parameters()] == [w.shape for w in network.parameters()]


def test_networks_by_name_are_those_of_the_configuration() -> None:
    assert {path.stem for path in CHOICES} == {*NETWORKS, "torchvision", "timm"}
    with pytest.raises(InputError, match="architecture=vgg61: did you mean vgg1"):
        named("vgg61", 10, (3, 32, 32))


def test_resnet_34_and_50_are_torchvisions_but_for_stem_and_classes() -> None:
    for depth in (34, 50):
        with torch.device("meta"):
            ours = prunable(resnet(depth, 10, (3, 32, 32)))
            theirs = prunable(torchvision_model(f"resnet{depth}", 10, (3, 224, 224)))
        assert [w.shape for w in ours[1:]] == [w.shape for w in theirs[1:]]


@pytest.mark.parametrize(
    ("network", "shape"),
    [
        (lambda shape: mlp(7, shape), (1, 28, 28)),
        (lambda shape: mlp(7, shape, hidden=[]), (3, 5, 4)),
        (lambda shape: conv(7, shape), (1, 28, 28)),
        (lambda shape: conv(7, shape), (3, 9, 17)),
        (lambda shape: vgg(11, 7, shape), (1, 16, 16)),
        (lambda shape: vgg(13, 7, shape), (3, 28, 31)),
        (lambda shape: vgg_tiny(11, 7, shape), (2, 32, 70)),
        (lambda shape: resnet(18, 7, shape), (1, 1, 1)),
        (lambda shape: resnet(50, 7, shape), (3, 17, 32)),
        (lambda shape: thin_resnet(8, 7, shape), (3, 28, 28)),
        (lambda shape: wide_resnet(18, 7, shape), (3, 8, 8)),
    ],
)
def test_forward_shape_and_fx_trace(
    network: Callable[[tuple[int, int, int]], nn.Module], shape: tuple[int, int, int]
) -> None:
    with torch.device("meta"):
        model = network(shape).eval()
        traced = torch.fx.symbolic_trace(model)
        assert model(torch.zeros(2, *shape)).shape == traced(torch.zeros(2, *shape)).shape == (2, 7)
    assert model.input_shape == shape


def test_fx_graph_of_a_resnet_calls_each_relu_once() -> None:
    nodes = torch.fx.symbolic_trace(thin_resnet(8, 10, (3, 8, 8))).graph.nodes
    targets = [node.target for node in nodes if node.op == "call_module"]
    assert len(targets) == len(set(targets))


def fan(weight: torch.Tensor, mode: str) -> int:
    return weight[0].numel() if mode == "fan_in" else weight.transpose(0, 1)[0].numel()


@pytest.mark.parametrize(
    ("build", "mode"),
    [
        (lambda: conv(10, (1, 28, 28)), "fan_in"),
        (lambda: thin_resnet(20, 10, (3, 32, 32)), "fan_in"),
        (lambda: vgg(11, 100, (3, 32, 32)), "fan_in"),
        (lambda: vgg_tiny(11, 200, (3, 64, 64)), "fan_out"),
        (lambda: resnet(18, 10, (3, 32, 32)), "fan_out"),
    ],
)
def test_initial_weights_are_kaiming_normal(build: Callable[[], nn.Module], mode: str) -> None:
    torch.manual_seed(0)
    model = build()
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d) or (mode == "fan_in" and isinstance(layer, nn.Linear)):
            error = 5 / sqrt(2 * layer.weight.numel())  # five standard errors of a sample's standard deviation
            assert layer.weight.std().item() == pytest.approx(sqrt(2 / fan(layer.weight, mode)), rel=error)
            assert layer.bias is None or not layer.bias.any()
        if isinstance(layer, nn.BatchNorm2d):
            assert (layer.weight == 1).all() and (layer.bias == 0).all()


def test_initial_weights_of_linear_layers() -> None:
    torch.manual_seed(0)
    for layer in vgg_tiny(11, 200, (3, 32, 32)).modules():
        if isinstance(layer, nn.Linear):
            assert layer.weight.std().item() == pytest.approx(0.01, rel=0.01)
            assert not layer.bias.any()
    last = resnet(18, 1000, (3, 32, 32)).classifier
    assert last.weight.abs().max().item() == pytest.approx(1 / sqrt(512), rel=1e-3)  # PyTorch's default, uniform
    assert last.bias.abs().max().item() == pytest.approx(1 / sqrt(512), rel=0.05)


def test_convolutions_have_a_bias_in_vgg_alone() -> None:
    with torch.device("meta"):
        biased = [vgg(11, 10, (3, 32, 32)), vgg_tiny(11, 10, (3, 32, 32))]
        unbiased = [conv(10, (1, 28, 28)), resnet(18, 10, (3, 32, 32)), thin_resnet(20, 10, (3, 32, 32))]
    for models, has_bias in ((biased, True), (unbiased, False)):
        layers = [layer for model in models for layer in model.modules() if isinstance(layer, nn.Conv2d)]
        assert all((layer.bias is not None) == has_bias for layer in layers)


def test_wide_resnet_really_widens() -> None:
    with torch.device("meta"):
        plain, one, two, four = (
            resnet(18, 10, (3, 32, 32)),
            *(wide_resnet(18, 10, (3, 32, 32), width_factor=factor) for factor in (1, 2, 4)),
        )
        default = wide_resnet(18, 10, (3, 32, 32))
    assert size(plain) == size(one) != size(two) == size(default)
    widths = [[stage[-1].branch[0].out_channels for stage in model.stages] for model in (one, two, four)]
    assert widths == [[64, 128, 256, 512], [128, 256, 512, 1024], [256, 512, 1024, 2048]]
    assert size(two)[0] / size(one)[0] == pytest.approx(4, rel=0.01)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: vgg(12, 10, (3, 32, 32)), "architecture.depth=12: allowed: 11, 13, 16, 19"),
        (lambda: vgg_tiny(18, 10, (3, 64, 64)), "architecture.depth=18: allowed: 11, 13, 16, 19"),
        (lambda: resnet(20, 10, (3, 32, 32)), "architecture.depth=20: allowed: 18, 34, 50"),
        (lambda: thin_resnet(18, 10, (3, 32, 32)), "architecture.depth=18: allowed: 6 n + 2"),
        (lambda: thin_resnet(2, 10, (3, 32, 32)), "architecture.depth=2: allowed: 6 n + 2"),
        (lambda: vgg(16, 10, (3, 8, 8)), "architecture.input_shape=[3, 8, 8]: .* at least 16"),
        (lambda: vgg(16, 10, (3, 64, 15)), "architecture.input_shape=[3, 64, 15]: .* at least 16"),
        (lambda: vgg_tiny(16, 10, (3, 31, 64)), "architecture.input_shape=[3, 31, 64]: .* at least 32"),
        (lambda: conv(10, (1, 7, 28)), "architecture.input_shape=[1, 7, 28]: .* at least 8"),
        (lambda: conv(10, (1, 28, 28), widths=[]), "architecture.widths=0: must be at least 1"),
        (lambda: conv(10, (1, 28, 28), widths=[8, 0]), "architecture.widths=0: must be at least 1"),
        (lambda: mlp(10, (1, 28)), "architecture.input_shape=(1, 28): give three integers"),
        (lambda: mlp(10, (0, 28, 28)), "architecture.input_shape=[0, 28, 28]: every size"),
        (lambda: mlp(10, (1, 28.5, 28)), "architecture.input_shape=(1, 28.5, 28): give three integers"),
        (lambda: mlp(10, 28), "architecture.input_shape=28: give three integers"),
        (lambda: resnet(18, 0, (3, 32, 32)), "architecture.num_classes=0: must be at least 1"),
        (lambda: wide_resnet(18, 10, (3, 32, 32), 0), "architecture.width_factor=0: must be at least 1"),
        (
            lambda: torchvision_model("resnet81", 10, (3, 32, 32)),
            "architecture.model=resnet81: did you mean resnet18? allowed: alexnet, ",
        ),
        (lambda: torchvision_model("resnet18", 10, (1, 32, 32)), "input_shape=[1, 32, 32]: .* 3 channels"),
        (lambda: torchvision_model("resnet18", 10, (3, 32, 32), pretrained=True), "model=resnet18: .*1000"),
        (lambda: timm_model("resnet81", 10, (3, 32, 32)), "model=resnet81: did you mean .*resnet18"),
        (lambda: timm_model("resnet18.nobody", 10, (3, 32, 32)), "model=resnet18.nobody: .*tag"),
    ],
)
def test_wrong_input_is_refused_in_one_line(build: Callable[[], nn.Module], message: str) -> None:
    pattern = re.escape(message).replace(r"\.\*", ".*").replace(r"\ ", " ")
    with torch.device("meta"), pytest.raises(InputError, match=pattern) as caught:
        build()
    assert "\n" not in str(caught.value)


def test_library_models_take_the_input_they_were_built_for() -> None:
    theirs = timm_model("resnet18", 7, OmegaConf.create([1, 28, 28]))
    vit = timm_model("vit_tiny_patch16_224", 7, (3, 32, 32), img_size=32)
    ours = torchvision_model("squeezenet1_1", 7, (3, 40, 40))
    for model in (theirs, vit, ours):
        assert model.training and model(torch.zeros(2, *model.input_shape)).shape == (2, 7)


def test_building_leaves_the_random_stream_where_the_initial_weights_left_it() -> None:
    from torchvision.models import resnet18

    torch.manual_seed(0)
    built, after = torchvision_model("resnet18", 10, (3, 32, 32)), torch.rand(())
    torch.manual_seed(0)
    plain, expected = resnet18(num_classes=10), torch.rand(())
    assert torch.equal(after, expected)
    assert all(torch.equal(built.state_dict()[key], value) for key, value in plain.state_dict().items())


def test_nothing_but_timm_models_needs_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(InputError, match=r"architecture=timm: needs timm: pip install"):
        timm_model("resnet18", 10, (3, 32, 32))
    with torch.device("meta"):
        torchvision_model("resnet18", 10, (3, 32, 32))
