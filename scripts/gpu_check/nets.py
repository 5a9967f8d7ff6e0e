"""The nets of the check, and functions that prune them and measure time."""

import time
import warnings
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

import prune_init
from prune_init.architectures.conv import conv
from prune_init.architectures.resnet import resnet, thin_resnet
from prune_init.architectures.vgg import vgg, vgg_tiny
from prune_init.pruning.masks import Tensors
from prune_init.pruning.result import PruneResult

CUDA = torch.cuda.is_available()
DEVICE = torch.device("cuda" if CUDA else "cpu")
SHAPE = (3, 32, 32)
NETS: dict[str, Callable[[], nn.Module]] = {
    "conv": lambda: conv(10, SHAPE),
    "resnet8": lambda: thin_resnet(8, 10, SHAPE, width=8),
    "resnet20": lambda: thin_resnet(20, 10, SHAPE, width=8),
    "vgg11_tiny": lambda: vgg_tiny(11, 10, SHAPE),
    "vgg16": lambda: vgg(16, 10, SHAPE),
    "resnet18": lambda: resnet(18, 10, SHAPE),
}


def net(name: str) -> nn.Module:
    """Build the net, with the same weights at every call."""
    torch.manual_seed(0)
    return NETS[name]()


def sample(per_class: int = 10) -> list[tuple[Tensor, Tensor]]:
    """Noise with labels of ten classes, in batches of 64; drawn in float64 and rounded to float32."""
    labels = torch.arange(10).repeat(per_class)
    images = torch.randn(len(labels), *SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return list(zip(images.float().split(64), labels.split(64), strict=True))


def pruned(
    name: str, scorer: Any, device: torch.device | str, sparsity: float = 0.98, iterations: int = 1, **options: Any
) -> PruneResult:
    """Prune a new net on a device with everything seeded, in float64 unless `dtype` says otherwise."""
    settings: dict[str, Any] = {"dtype": torch.float64, "input_shape": SHAPE, "data": sample()} | options
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return prune_init.prune(
            net(name).to(device),
            scorer,
            sparsity,
            iterations=iterations,
            generator=torch.Generator().manual_seed(1),
            **settings,
        )


def differing(a: Tensors, b: Tensors) -> int:
    """The number of weights that are kept by only one of two dictionaries of masks."""
    return sum(int((mask.cpu() != b[name].cpu()).sum()) for name, mask in a.items())


def wait() -> None:
    """Wait until the device has finished all its work."""
    if CUDA:
        torch.cuda.synchronize()


def once(act: Callable[[], object]) -> float:
    """Seconds of a call, including the work that it leaves to the device."""
    wait()
    start = time.perf_counter()
    act()
    wait()
    return time.perf_counter() - start


def seconds(act: Callable[[], object], repeats: int = 3, warm: int = 1) -> float:
    """The median time of a call in seconds, after warm-up calls."""
    for _ in range(warm):
        act()
    return median(once(act) for _ in range(repeats))
