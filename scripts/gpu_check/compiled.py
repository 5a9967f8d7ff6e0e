"""torch.compile: the time it costs and the time it saves."""

import time
from typing import Any

import torch
from torch._dynamo.utils import counters

from gpu_check.card import bf16
from gpu_check.epochs import Stopwatch
from gpu_check.fits import fit
from gpu_check.nets import DEVICE, SHAPE, net, wait
from gpu_check.report import Report
from gpu_check.steps import judge, per_step, rate, stepper
from prune_init.benchmark.speed.utilisation import step_flops

CASES = [("vgg16", 128, "reduce-overhead"), ("vgg16", 512, "reduce-overhead")]
WAYS: tuple[bool | str, ...] = (False, "reduce-overhead")
"""How compact nets are compiled."""


def compile(report: Report, *, quick: bool) -> None:
    """Time steps of compiled nets, and epochs of a compact net under Lightning, whose last batch is smaller."""
    highest = bf16(quick=quick)
    for name, batch, mode in [("resnet8", 8, "default")] if quick else CASES:
        case: dict[str, Any] = {"net": name, "batch": batch, "mode": mode}
        with report.attempt(**case):
            work, model = step_flops(net(name).to(DEVICE)) * batch, net(name).to(DEVICE)
            torch._dynamo.reset()
            counters.clear()
            model.compile(mode=mode)
            act, start = stepper(model, batch), time.perf_counter()
            act()
            wait()
            first, graphs = time.perf_counter() - start, counters["stats"]["unique_graphs"]
            found = rate(per_step(act), batch, work, highest)
            report.say(**case, first_step_s=first, graphs=graphs, **found, passes=graphs > 0)
            judge(report, name, batch, {mode: found["share"]})
    for way in WAYS:
        with report.attempt(case="compact, epochs under Lightning", compiled=way):
            _epochs(report, way, quick=quick)


def _epochs(report: Report, way: bool | str, *, quick: bool) -> None:
    name, count, batch = ("resnet8", 48, 32) if quick else ("vgg16", 100 * 128 + 80, 128)
    torch._dynamo.reset()
    counters.clear()
    watch, start = Stopwatch(), time.perf_counter()
    options: Any = {"compact_for": SHAPE, "channels_last": True, "callbacks": [watch]}
    fitted = fit(name, 3, count=count, batch=batch, sparsity=0.98 if quick else 0.999, compiled=way, **options)
    graphs, took = counters["stats"]["unique_graphs"], time.perf_counter() - start
    report.say(
        case="compact, epochs under Lightning",
        compiled=way,
        graphs=graphs,
        seconds=took,
        ms=1e3 * watch.seconds[-1] / -(-count // batch),
        loss=fitted.last["train/loss"],
        leak=fitted.leak,
        passes=(graphs > 0) == bool(way) and fitted.leak == 0,
    )
