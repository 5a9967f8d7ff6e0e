"""Checks that masks and paths on the GPU are the same as on the CPU."""

import time
from pathlib import Path
from typing import Any

import torch

from gpu_check.nets import CUDA, DEVICE, SHAPE, differing, net, pruned
from gpu_check.report import Report
from prune_init import scorers
from prune_init.pruning.connectivity import assess
from prune_init.scorers.ntk_sap import NtkSap

ITERATIONS = {"ntk_sap": 2, "force": 6, "iter_snip": 8, "synflow": 20, "synflow_l2": 20}
"""Iterations for small nets; 1 for scorers that are not listed."""
BIG_SCORERS = {"synflow": 100, "snip": 1, "magnitude": 1, "random": 1, "grasp": 1, "synflow_l2": 10, "force": 3}
"""Scorers for VGG-16 and ResNet-18, with their iterations."""
QUICK = ("grasp_official", "ntk_sap", "random_erk", "synflow")


def masks(report: Report, *, quick: bool) -> None:
    """Check all scorers on small nets: in float64 the GPU's masks are the CPU's, and are the same twice.

    In the scorer's own dtype, mostly float32, masks may differ, so this is only reported: scores are computed with IEEE
    arithmetic too (no TF32), but sums are rounded in another order, and iterative scorers amplify the difference.
    """
    for name in ("resnet8",) if quick else ("conv", "resnet20"):
        for label in QUICK if quick else scorers.names():
            with report.attempt(net=name, scorer=label):
                report.say(net=name, scorer=label, **_compared(name, label))


def _compared(name: str, label: str) -> dict[str, Any]:
    scorer = NtkSap(batches=1, batch_size=20) if label == "ntk_sap" else label
    options: Any = {"scorer": scorer, "sparsity": 0.9, "iterations": ITERATIONS.get(label, 1)}
    cpu, gpu, again = (pruned(name, device=device, **options) for device in ("cpu", DEVICE, DEVICE))
    own_gpu, own_cpu = (pruned(name, device=device, dtype=None, **options) for device in (DEVICE, "cpu"))
    differ, twice = differing(cpu.masks, gpu.masks), differing(gpu.masks, again.masks)
    return {
        "kept": sum(int(mask.sum()) for mask in cpu.masks.values()),
        "differ": differ,
        "differ_twice": twice,
        "differ_own_dtype": differing(own_gpu.masks, own_cpu.masks),
        "seconds": gpu.cost.seconds,
        "passes": differ == twice == 0 and cpu.effective_sparsity == gpu.effective_sparsity,
    }


def _big(*, quick: bool) -> list[tuple[str, str, int]]:
    names, scorers = (("resnet8",), ("snip", "magnitude")) if quick else (("vgg16", "resnet18"), tuple(BIG_SCORERS))
    return [(name, scorer, BIG_SCORERS[scorer]) for scorer in scorers for name in names]


def reference(report: Report, *, quick: bool) -> None:
    """Compute on the CPU, in parallel with the stages on the GPU, the float64 masks that `big_masks` waits for."""
    torch.set_num_threads(max(1, torch.get_num_threads() - 6))
    path = report.folder / "reference.pt"
    found = {}
    for name, scorer, iterations in _big(quick=quick):
        result = pruned(name, scorer, "cpu", iterations=iterations)
        found[name, scorer] = (result.masks, result.effective_sparsity, result.cost.seconds)
        partial = path.with_suffix(".part")
        torch.save(found, partial)
        partial.replace(path)


def big_masks(report: Report, *, quick: bool) -> None:
    """Compare the masks of VGG-16 and ResNet-18, in the order in which the CPU computes them."""
    for name, scorer, iterations in _big(quick=quick):
        there, effective, seconds = _awaited(report.folder / "reference.pt", (name, scorer))
        with report.attempt(net=name, scorer=scorer):
            here = pruned(name, scorer, DEVICE, iterations=iterations)
            differ = differing(there, here.masks)
            report.say(
                net=name,
                scorer=scorer,
                differ=differ,
                seconds=here.cost.seconds,
                seconds_cpu=seconds,
                peak_mib=here.cost.ledger.peak_memory / 2**20,
                passes=differ == 0 and effective == here.effective_sparsity,
            )


def _awaited(path: Path, key: tuple[str, str]) -> Any:
    while True:
        if path.exists() and key in (found := torch.load(path)):
            return found[key]
        time.sleep(0.5)


def paths(report: Report, *, quick: bool) -> None:
    """Compare the weights on a path for the same masks, since some cuDNN algorithms do not compute exact zeros."""
    for name in ("resnet8",) if quick else ("conv", "resnet20", "vgg16", "resnet18"):
        found = pruned(name, "random", "cpu")
        model = net(name).to(DEVICE)
        for how in ("default", "benchmark", "ieee", "deterministic") if CUDA else ("default",):
            with torch.backends.cudnn.flags(
                enabled=True,
                benchmark=how == "benchmark",
                deterministic=how == "deterministic",
                allow_tf32=how != "ieee",
            ):
                here = assess(model, {k: mask.to(DEVICE) for k, mask in found.masks.items()}, SHAPE)
            wrong = sum(a.effective != b.effective for a, b in zip(found.layers, here.layers, strict=True))
            effective = sum(layer.effective or 0 for layer in here.layers)
            report.say(net=name, how=how, effective=effective, wrong_layers=wrong, passes=wrong == 0)
