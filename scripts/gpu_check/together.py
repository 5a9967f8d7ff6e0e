"""Training in several processes that share one GPU by time slices (no MPS)."""

import multiprocessing
import time
from typing import Any

import torch
from torch import nn

import prune_init
from gpu_check.nets import DEVICE, SHAPE, net, wait
from gpu_check.report import Report
from gpu_check.steps import stepper

STARTED = 60
"""Timeout in seconds until all processes are ready."""
COUNTS = {0.0: (1, 2, 4), 0.999: (1, 4, 8)}
"""For each sparsity, with compact nets above 0, the numbers of processes."""


def together(report: Report, *, quick: bool) -> None:
    """Report the images per second of all processes together, to see how many runs a GPU should be given at once."""
    name, batch, steps = ("resnet8", 8, 3) if quick else ("vgg16", 128, 300)
    context = multiprocessing.get_context("spawn")
    for sparsity, counts in ({0.0: (1, 2), 0.9: (2,)} if quick else COUNTS).items():
        for count in counts:
            ready, times = context.Barrier(count), context.Queue()
            work = (ready, times, name, sparsity, batch, steps)
            processes = [context.Process(target=trains, args=work, daemon=True) for _ in range(count)]
            for process in processes:
                process.start()
            spans = [times.get(timeout=STARTED) for _ in processes]
            for process in processes:
                process.join()
            took = max(end for _, end in spans) - min(begin for begin, _ in spans)
            rate = count * steps * batch / took
            report.say(net=name, sparsity=sparsity, batch=batch, processes=count, images_per_s=rate, seconds=took)


def trains(ready: Any, times: Any, name: str, sparsity: float, batch: int, steps: int) -> None:
    """Train in a process of its own once all processes are ready; put the times of begin and end into `times`."""
    torch.set_num_threads(1)
    act = stepper(_compact(name, sparsity) if sparsity else net(name), batch)
    for _ in range(3):
        act()
    wait()
    ready.wait(STARTED)
    begin = time.time()
    for _ in range(steps):
        act()
    wait()
    times.put((begin, time.time()))


def _compact(name: str, sparsity: float) -> nn.Module:
    model = net(name).to(DEVICE)
    prune_init.prune(model, "synflow", sparsity, iterations=20, input_shape=SHAPE)
    return prune_init.compact(model, torch.zeros(2, *SHAPE, device=DEVICE))
