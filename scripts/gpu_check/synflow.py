"""SynFlow to 98 % sparsity in 100 iterations, compared with the published method on the same device."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

import prune_init
from gpu_check.nets import CUDA, DEVICE, SHAPE, differing, net, once, pruned, wait
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
    """Time both on VGG-16, and ours on ResNet-18; the published method comes last, as one run takes ten seconds."""
    iterations = 5 if quick else 100
    for name in ("resnet8",) if quick else ("resnet18", "vgg16"):
        found, best = _in_all_ways(report, name, iterations)
    _not_recordable(report)
    if CUDA:
        with report.attempt(net=name, what="profile"):
            _profiled(report, name)
    _published(name, 3)
    published, _ = _published(name, iterations)
    passes = published >= LEAST * best if CUDA else None
    report.say(net=name, seconds=best, published_float32=published, times=published / best, passes=passes)
    published, masks = _published(name, iterations, torch.float64)
    differ = differing(found.masks, masks)
    report.say(net=name, published_float64=published, differ=differ, passes=differ == 0)


def _in_all_ways(report: Report, name: str, iterations: int) -> tuple[PruneResult, float]:
    """The result and time as it is set up; also the times of ways that are off until measured, whose masks must agree.

    For one image in float64, cuDNN's convolutions take longer than a copy of its patches and a matrix product, which
    torch uses without cuDNN.
    """
    first, usual = None, 0.0
    for graph in (False, True):
        for cudnn in (True, False):
            way = {"net": name, "cudnn": cudnn, "one_graph": graph}
            with report.attempt(**way), torch.backends.cudnn.flags(enabled=cudnn), _graphed(graph):
                _ours(name, 3)
                (took, found), (again, _) = _ours(name, iterations), _ours(name, iterations)
                first, usual = (found, min(took, again)) if first is None else (first, usual)
                differ, peak = differing(first.masks, found.masks), found.cost.ledger.peak_memory / 2**20
                report.say(**way, seconds=min(took, again), peak_mib=peak, differ=differ, passes=differ == 0)
    assert first is not None
    return first, usual


def _not_recordable(report: Report) -> None:
    """Iterative SNIP checks its labels on the host, which no graph can record: it must be scored as usual."""
    with report.attempt(scorer="iter_snip", one_graph=True):
        options: Any = {"iterations": 4, "mode": "eval"}
        usual = pruned("conv", "iter_snip", DEVICE, **options)
        with _graphed(True):
            found, again = (pruned("conv", "iter_snip", DEVICE, **options) for _ in range(2))
        differ = differing(usual.masks, found.masks) + differing(usual.masks, again.masks)
        report.say(scorer="iter_snip", one_graph=True, differ=differ, passes=differ == 0)


def _ours(name: str, iterations: int) -> tuple[float, PruneResult]:
    model, found = net(name).to(DEVICE), list[PruneResult]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        options: Any = {"iterations": iterations, "input_shape": SHAPE}
        return once(lambda: found.append(prune_init.prune(model, "synflow", 0.98, **options))), found[0]


@contextmanager
def _graphed(on: bool) -> Iterator[None]:
    """Inside the context, iterations are recorded as one CUDA graph if `on`, which is off elsewhere until measured."""
    replay.ON, before = on, replay.ON
    try:
        yield
    finally:
        replay.ON = before


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
        "ms_of_kernels": sum(e.self_device_time_total for e in events if e.device_type == DeviceType.CUDA) / 1e3,
        "launches": count("LaunchKernel"),
        "waits": count("StreamSynchronize"),
        "copies": count("cudaMemcpyAsync"),
    }
