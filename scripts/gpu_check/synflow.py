"""SynFlow to 98 % sparsity in 100 iterations, compared with the published method on the same device."""

import warnings
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

import prune_init
from gpu_check.nets import CUDA, DEVICE, SHAPE, differing, net, once, wait
from gpu_check.report import Report
from prune_init.benchmark.speed import baseline
from prune_init.pruning.engine import replay
from prune_init.pruning.masks import Tensors
from prune_init.pruning.result import PruneResult

LEAST = 10
"""Pruning VGG-16 on a GPU should be this many times as fast as in the published method."""
WAITS = 4
"""How often the host may wait for the GPU per iteration."""


def synflow(report: Report, *, quick: bool) -> None:
    """Time both; VGG-16 and ours come first, because one run of the published method takes ten seconds."""
    iterations = 5 if quick else 100
    for name in ("resnet8",) if quick else ("vgg16", "resnet18"):
        _ours(name, 3)
        (seconds, found), (again, _) = _ours(name, iterations), _ours(name, iterations)
        single, _ = _ours(name, iterations, torch.float32)
        peak = found.cost.ledger.peak_memory / 2**20
        report.say(net=name, iterations=iterations, seconds=min(seconds, again), seconds_float32=single, peak_mib=peak)
        with report.attempt(net=name, what="one CUDA graph"):
            graphed, replayed = _graphed(name, iterations)
            differ = differing(found.masks, replayed.masks)
            report.say(net=name, what="one CUDA graph", seconds=graphed, differ=differ, passes=differ == 0)
        if CUDA and name == "vgg16":
            with report.attempt(net=name, what="profile"):
                _profiled(report, name)
        _published(name, 3)
        ours, _ = _ours(name, iterations)  # again, because a profiler may slow down later calls
        published, _ = _published(name, iterations)
        report.say(
            net=name,
            seconds=ours,
            published_float32=published,
            times=published / ours,
            passes=published >= LEAST * ours if CUDA and name == "vgg16" else None,
        )
        if name != "resnet18":  # it would take ten seconds more, and `big_masks` compares its masks
            published, masks = _published(name, iterations, torch.float64)
            differ = differing(found.masks, masks)
            report.say(net=name, published_float64=published, differ=differ, passes=differ == 0)


def _ours(name: str, iterations: int, dtype: torch.dtype | None = None) -> tuple[float, PruneResult]:
    model, found = net(name).to(DEVICE), list[PruneResult]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        options: Any = {"iterations": iterations, "input_shape": SHAPE, "dtype": dtype}
        return once(lambda: found.append(prune_init.prune(model, "synflow", 0.98, **options))), found[0]


def _graphed(name: str, iterations: int) -> tuple[float, PruneResult]:
    """The second of two prunings with iterations recorded as a CUDA graph, which is off elsewhere until measured."""
    replay.ON = True
    try:
        return [_ours(name, iterations) for _ in range(2)][1]
    finally:
        replay.ON = False


def _published(name: str, iterations: int, dtype: torch.dtype = torch.float32) -> tuple[float, Tensors]:
    model, found = baseline.masked(net(name).to(DEVICE)).to(dtype), list[Tensors]()
    score = baseline.synflow(SHAPE)
    return once(lambda: found.append(baseline.prune(model, score, 0.98, iterations))), found[0]


def _profiled(report: Report, name: str) -> None:
    """Report kernels, launches, waits and copies of one iteration, without the work before and after all iterations."""
    few, many = (_counts(report, name, iterations) for iterations in (5, 15))
    found = {what: (many[what] - few[what]) / 10 for what in few}
    report.say(net=name, profiled="an iteration", **found, passes=found["waits"] <= WAITS)


def _counts(report: Report, name: str, iterations: int) -> dict[str, float]:
    model = net(name).to(DEVICE)
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiled:
        prune_init.prune(model, "synflow", 0.98, iterations=iterations, input_shape=SHAPE)
        wait()
    events = profiled.key_averages()
    tables = (
        events.table(sort_by=f"self_{device}_time_total", row_limit=40, max_name_column_width=70)
        for device in ("cuda", "cpu")
    )
    (report.folder / "synflow_profile.txt").write_text("\n".join(tables))

    def count(word: str) -> int:
        return sum(event.count for event in events if word in event.key)

    return {
        "ms_of_kernels": sum(event.self_device_time_total for event in events) / 1e3,
        "launches": count("LaunchKernel"),
        "waits": count("StreamSynchronize"),
        "copies": count("cudaMemcpyAsync"),
    }
