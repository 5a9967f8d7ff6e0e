"""torch.compile: the time it costs and the time it saves."""

import time
from typing import Any

import torch
from torch._dynamo.utils import counters

from gpu_check.card import bf16
from gpu_check.fits import fit
from gpu_check.nets import DEVICE, net, wait
from gpu_check.report import Report
from gpu_check.steps import per_step, rate, stepper
from prune_init.benchmark.speed.utilisation import step_flops

CASES = [
    ("vgg16", 128, "default"),
    ("resnet18", 128, "default"),
    ("vgg16", 128, "reduce-overhead"),
    ("vgg16", 512, "default"),
]


def compile(report: Report, *, quick: bool) -> None:
    """Time steps of compiled nets, and train two epochs under Lightning, whose last batch is smaller."""
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
    name, count, batch = ("resnet8", 48, 32) if quick else ("resnet20", 300, 128)
    for compiled in (False, True) if quick else (False, True, "reduce-overhead"):
        with report.attempt(case="two epochs under Lightning", compiled=compiled):
            torch._dynamo.reset()
            counters.clear()
            start = time.perf_counter()
            fitted = fit(name, 2, count=count, batch=batch, compiled=compiled)
            graphs, took = counters["stats"]["unique_graphs"], time.perf_counter() - start
            report.say(
                case="two epochs under Lightning",
                compiled=compiled,
                graphs=graphs,
                seconds=took,
                loss=fitted.last["train/loss"],
                leak=fitted.leak,
                passes=(graphs > 0) == bool(compiled) and fitted.leak == 0,
            )
