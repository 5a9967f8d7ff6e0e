"""The GPU: its properties and its peak rates."""

import os
import shutil
from functools import partial

import torch

from gpu_check.nets import CUDA, DEVICE, net, seconds
from gpu_check.report import Report
from prune_init.benchmark.speed.machine import machine
from prune_init.benchmark.speed.utilisation import product_rate

VGG16 = 14_714_688
"""Number of scores of VGG-16."""


def env(report: Report, *, quick: bool) -> None:
    """Report versions, settings, and the sum of a net's initial weights, which another torch may draw differently."""
    report.say(**machine())
    if CUDA:
        card = torch.cuda.get_device_properties(0)
        report.say(
            gpu=card.name,
            memory_gib=card.total_memory / 2**30,
            processors=card.multi_processor_count,
            cudnn=torch.backends.cudnn.version(),
            cpus=len(os.sched_getaffinity(0)),
            tf32_convolutions=torch.backends.cudnn.allow_tf32,
            tf32_products=torch.backends.cuda.matmul.allow_tf32,
            compiler=shutil.which("g++"),
        )
    name = "resnet8" if quick else "vgg16"
    report.say(net=name, weights=float(sum(p.double().abs().sum() for p in net(name).parameters())))


def rates(report: Report, *, quick: bool) -> None:
    """Measure matrix products in each number format, copies, and sorts of as many scores as VGG-16 has."""
    side = 256 if quick else 8192
    kinds: list[tuple[str, torch.dtype, bool, int]] = [
        ("bf16", torch.bfloat16, False, side),
        ("fp16", torch.float16, False, side),
        ("tf32", torch.float32, True, side),
        ("fp32", torch.float32, False, side),
        ("fp64", torch.float64, False, side // 2),
    ]
    for name, dtype, tf32, n in kinds:
        torch.backends.cuda.matmul.allow_tf32 = tf32
        report.say(what=f"product {name} {n}", tflops=product_rate(n, dtype) / 1e12)
    torch.backends.cuda.matmul.allow_tf32 = False
    source = torch.empty(2**20 if quick else 2**30, device=DEVICE).normal_()
    target = torch.empty_like(source)
    moved = 2 * 4 * source.numel()
    report.say(what="copy, read and written", gb_per_s=moved / seconds(lambda: target.copy_(source), 10, 2) / 1e9)
    for dtype in (torch.float32, torch.float64):
        scores = torch.rand(10**5 if quick else VGG16, device=DEVICE, dtype=dtype)
        report.say(what=f"stable sort of {len(scores)}, {dtype}", ms=1e3 * seconds(partial(scores.sort, stable=True)))


def bf16(*, quick: bool) -> float:
    """FLOP/s of a large matrix product in bf16, with which training is compared."""
    return product_rate(256 if quick else 8192, torch.bfloat16)
