"""Prune and compact the families of networks in torchvision and timm, one row each.

The networks are small and have random weights; nothing is downloaded.
"""

import argparse
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

import torch
from torch import nn

from prune_init import host
from prune_init.analysis.conservation import non_negative
from prune_init.arguments import Parser, whole
from prune_init.compaction.compact import compact
from prune_init.errors import InputError
from prune_init.flow.laws import conservation
from prune_init.loop import prune
from prune_init.pruning.structures import difference

INPUT_SHAPE = (3, 64, 64)
CLASSES = 10


def _torchvision(name: str, **options: object) -> nn.Module:
    return getattr(import_module("torchvision.models"), name)(num_classes=CLASSES, **options)


def _part_of_timm(name: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError:
        raise InputError("--networks", name, "needs: pip install 'prune_init[timm]'") from None


def _timm(name: str, **options: object) -> nn.Module:
    network: nn.Module = _part_of_timm("timm").create_model(name, num_classes=CLASSES, **options)
    return network


def _resnet(**options: object) -> nn.Module:
    parts = _part_of_timm("timm.models.resnet")
    return parts.ResNet(parts.Bottleneck, [1, 1, 1, 1], CLASSES, channels=(8, 16, 32, 64), stem_width=16, **options)


def _convnext() -> nn.Module:
    setting = import_module("torchvision.models.convnext").CNBlockConfig
    blocks = [setting(8, 16, 1), setting(16, 32, 1), setting(32, None, 1)]
    return _torchvision("ConvNeXt", block_setting=blocks)


def _own_sizes(module: str, name: str, **options: object) -> nn.Module:
    return getattr(_part_of_timm(f"timm.models.{module}"), name)(num_classes=CLASSES, **options)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "ResNet (bottleneck)": _resnet,
    "ResNeXt": partial(_resnet, cardinality=4, base_width=16),
    "DenseNet": partial(_torchvision, "DenseNet", growth_rate=8, block_config=(2, 2, 2), num_init_features=16),
    "SqueezeNet": partial(_torchvision, "squeezenet1_1"),
    "GoogLeNet": partial(_torchvision, "GoogLeNet", aux_logits=False, init_weights=False),
    "ShuffleNet V2": partial(_torchvision, "shufflenet_v2_x0_5"),
    "MobileNet V2": partial(_torchvision, "mobilenet_v2", width_mult=0.35),
    "MobileNet V3": partial(_torchvision, "mobilenet_v3_small", width_mult=0.35),
    "MNASNet": partial(_torchvision, "MNASNet", alpha=0.35),
    "RegNet": partial(_timm, "regnetx_002"),
    "RegNet, squeeze and excite": partial(_timm, "regnety_002"),
    "EfficientNet": partial(_timm, "test_efficientnet"),
    "NFNet (scaled weights)": partial(_timm, "test_nfnet"),
    "ByobNet": partial(_timm, "test_byobnet"),
    "timm ResNet": partial(_timm, "test_resnet"),
    "ConvNeXt": _convnext,
    "ConvNeXt (timm)": partial(_timm, "test_convnext"),
    "MambaOut": partial(_timm, "test_mambaout"),
    "ViT": partial(
        _torchvision,
        "VisionTransformer",
        image_size=64,
        patch_size=16,
        num_layers=2,
        num_heads=2,
        hidden_dim=32,
        mlp_dim=64,
    ),
    "ViT (timm)": partial(_timm, "test_vit", img_size=64),
    "ViT, relative positions": partial(_timm, "test_vit_relpos", img_size=64),
    "Swin": partial(
        _torchvision,
        "SwinTransformer",
        patch_size=[4, 4],
        embed_dim=16,
        depths=[2, 2],
        num_heads=[2, 2],
        window_size=[4, 4],
    ),
    "CoAtNet": partial(_timm, "test_coatnet", img_size=64),
    "MaxViT": partial(_timm, "test_maxvit", img_size=64),
    "MLP-Mixer": partial(_own_sizes, "mlp_mixer", "MlpMixer", img_size=64, patch_size=16, num_blocks=2, embed_dim=64),
    "PoolFormer": partial(_own_sizes, "metaformer", "MetaFormer", depths=(1, 1, 1, 1), dims=(8, 16, 32, 64)),
}


@dataclass(frozen=True)
class Row:
    """The result for one network.

    Attributes:
        weights: number of prunable weights.
        connected: whether a path is left; None if paths cannot be followed.
        broken: names of operations that break the conservation of synaptic flow; None if the net cannot be traced.
        parameters: fraction of all parameters that the compact net has; None if there is no compact net.
        difference: largest difference of the compact net's outputs, relative to the largest output.
    """

    weights: int
    connected: bool | None
    broken: tuple[str, ...] | None
    parameters: float | None
    difference: float | None


def examine(network: str, *, iterations: int = 10) -> Row:
    """Build a network of `NETWORKS`, find what breaks the conservation law, prune it with SynFlow and compact it."""
    torch.manual_seed(0)
    model = NETWORKS[network]().eval()
    broken = _broken(model)
    result = prune(model, "synflow", 0.9, iterations=iterations, input_shape=INPUT_SHAPE)
    size = sum(layer.size for layer in result.layers)
    images = torch.randn(2, *INPUT_SHAPE)
    try:
        small = compact(model, images)
    except InputError:
        return Row(size, result.connected, broken, None, None)
    left = sum(p.numel() for p in small.parameters()) / sum(p.numel() for p in model.parameters())
    return Row(size, result.connected, broken, left, difference(model(images), small(images)))


def _broken(model: nn.Module) -> tuple[str, ...] | None:
    """Measured with absolute parameters and an all-ones input, as SynFlow scores the net."""
    try:
        found = conservation(non_negative(model), torch.ones(1, *INPUT_SHAPE)).broken
    except InputError:
        return None
    return tuple(sorted({reason.split()[0] for reason in found.values()}))


def main() -> None:
    """Print the table."""
    parser = Parser(__doc__)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS)
    parser.add_argument("--iterations", type=whole(1), default=10, help="of SynFlow (default: %(default)s)")
    parser.run(_show)


def _show(chosen: argparse.Namespace) -> None:
    warnings.simplefilter("ignore")  # the table says what cannot be followed
    console = host.console()
    heads = ("weights", "a path is left", "breaks the law", "parameters left", "outputs differ by")
    table = host.table("network", *heads, title="SynFlow, 90 % of the weights removed, images of 3x64x64")
    for name in chosen.networks:
        with console.status(name):
            row = examine(name, iterations=chosen.iterations)
        table.add_row(name, *_cells(row))
    console.print(table)


def _cells(row: Row) -> list[str]:
    connected = {None: "unknown", True: "yes", False: "no"}[row.connected]
    broken = "not traceable" if row.broken is None else ", ".join(row.broken) or "nothing"
    left = "no compact net" if row.parameters is None else f"{100 * row.parameters:.1f} %"
    return [f"{row.weights:,}", connected, broken, left, "" if row.difference is None else f"{row.difference:.0e}"]


if __name__ == "__main__":
    main()
