"""Training in several processes that share one GPU by time slices (no MPS)."""

import multiprocessing
import time
from typing import Any

import torch

from gpu_check.nets import net, wait
from gpu_check.report import Report
from gpu_check.steps import stepper

STARTED = 30
"""Timeout in seconds until all processes are ready."""


def together(report: Report, *, quick: bool) -> None:
    """Report the images per second of all processes together, to see how many runs a GPU should be given at once."""
    name, batch, steps = ("resnet8", 8, 3) if quick else ("vgg16", 128, 300)
    context = multiprocessing.get_context("spawn")
    for count in (1, 2) if quick else (1, 2, 4):
        ready, times = context.Barrier(count), context.Queue()
        work = (ready, times, name, batch, steps)
        processes = [context.Process(target=trains, args=work, daemon=True) for _ in range(count)]
        for process in processes:
            process.start()
        spans = [times.get(timeout=STARTED) for _ in processes]
        for process in processes:
            process.join()
        took = max(end for _, end in spans) - min(begin for begin, _ in spans)
        report.say(net=name, batch=batch, processes=count, images_per_s=count * steps * batch / took, seconds=took)


def trains(ready: Any, times: Any, name: str, batch: int, steps: int) -> None:
    """Train in a process of its own once all processes are ready; put the times of begin and end into `times`."""
    torch.set_num_threads(1)
    act = stepper(net(name), batch)
    for _ in range(3):
        act()
    wait()
    ready.wait(STARTED)
    begin = time.time()
    for _ in range(steps):
        act()
    wait()
    times.put((begin, time.time()))
