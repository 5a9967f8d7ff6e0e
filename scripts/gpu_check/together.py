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

READY = 50
"""Timeout in seconds until all processes are ready for the next round."""
COUNTS = {0.0: (1, 2, 4), 0.999: (1, 4, 8)}
"""For each sparsity, with compact nets above 0, the numbers of processes that train at once."""


def together(report: Report, *, quick: bool) -> None:
    """Report the images per second of all processes together, to see how many runs a GPU should be given at once."""
    name, batch, steps = ("resnet8", 8, 3) if quick else ("vgg16", 128, 300)
    rounds = [(0.0, 1), (0.9, 2)] if quick else [(s, count) for s, counts in COUNTS.items() for count in counts]
    most = max(count for _, count in rounds)
    context = multiprocessing.get_context("spawn")
    ready, times = context.Barrier(most), context.Queue()
    for rank in range(most):
        context.Process(target=trains, args=(ready, times, rank, rounds, name, batch, steps), daemon=True).start()
    for sparsity, count in rounds:
        spans = [times.get(timeout=READY) for _ in range(count)]
        took = max(end for _, end in spans) - min(begin for begin, _ in spans)
        rate = count * steps * batch / took
        report.say(net=name, sparsity=sparsity, batch=batch, processes=count, images_per_s=rate, seconds=took)


def trains(
    ready: Any, times: Any, rank: int, rounds: list[tuple[float, int]], name: str, batch: int, steps: int
) -> None:
    """Train in the rounds that have more than `rank` processes; put the times of begin and end into `times`."""
    torch.set_num_threads(1)
    acts = {sparsity: stepper(_net(name, sparsity), batch) for sparsity, _ in rounds}
    for act in acts.values():
        for _ in range(3):
            act()
    for sparsity, count in rounds:
        wait()
        ready.wait(READY)
        if rank < count:
            begin = time.time()
            for _ in range(steps):
                acts[sparsity]()
            wait()
            times.put((begin, time.time()))


def _net(name: str, sparsity: float) -> nn.Module:
    model = net(name).to(DEVICE)
    if not sparsity:
        return model
    prune_init.prune(model, "synflow", sparsity, iterations=20, input_shape=SHAPE)
    return prune_init.compact(model, torch.zeros(2, *SHAPE, device=DEVICE))
