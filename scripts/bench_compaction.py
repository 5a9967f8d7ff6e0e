"""Measure how much faster compact nets are than the equivalent masked nets: VGG-16 and ResNet-18 on 32x32 images.

    python scripts/bench_compaction.py --out compaction.json

The dense net and the compact nets of all scorers and sparsities take turns, so that a slower phase of the machine
affects all of them; times are medians. Each net runs in both memory formats, and two ratios are given: with both nets
contiguous, and with each net in its faster format, which depends on width, batch and threads. A training step is
forward, backward, masks on gradients, SGD, masks on weights.
"""

import argparse
import copy
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.box import MARKDOWN, SIMPLE_HEAD, Box
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional as F

import prune_init
from prune_init import host
from prune_init.architectures.named import named
from prune_init.benchmark.speed.machine import machine
from prune_init.files import write_json
from prune_init.pruning.flops import multiply_adds
from prune_init.pruning.masks import Tensors
from prune_init.pruning.weights import prunable
from prune_init.training.mask_buffers import MaskBuffers

SHAPE, CLASSES = (3, 32, 32), 10
NETS = ("vgg16", "resnet18")
SHORTEST = 0.1
"""Minimum duration of one measurement in seconds; short steps are repeated within it."""
FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
WHAT = ("training step", "inference")

Step = Callable[[], None]


@dataclass(frozen=True)
class Subject:
    """A net to measure: the dense net, with all masks True, or a compact net."""

    net: nn.Module
    masks: Tensors


@dataclass(frozen=True)
class Case:
    """A compact net and its size relative to the dense net."""

    net: str
    scorer: str
    sparsity: float
    compacting_seconds: float
    multiply_adds_left: float
    channels_left: float


def pruned(name: str, scorer: str, sparsity: float) -> tuple[nn.Module, Tensors]:
    """Prune a net; return it with its masks. SNIP scores in eval mode, on 10 random images per class."""
    torch.manual_seed(0)
    model = named(name, CLASSES, SHAPE)
    if scorer == "synflow":
        return model, prune_init.prune(model, scorer, sparsity).masks
    labels = torch.arange(CLASSES).repeat_interleave(10)
    data = [(torch.randn(len(labels), *SHAPE), labels)]
    return model, prune_init.prune(model, scorer, sparsity, mode="eval", data=data).masks


def compacted(name: str, scorer: str, sparsity: float, device: torch.device) -> tuple[Case, Subject]:
    """Prune and compact a net."""
    model, masks = pruned(name, scorer, sparsity)
    started = time.perf_counter()
    small: Any = prune_init.compact(model, torch.empty(1, *SHAPE), masks=masks)
    seconds = time.perf_counter() - started
    image = torch.zeros(1, *SHAPE)
    adds = multiply_adds(small.eval(), image) / multiply_adds(model.eval(), image)
    width = channels(small) / channels(model)
    return Case(name, scorer, sparsity, seconds, adds, width), Subject(small.to(device), small.compaction.masks)


def training_step(subject: Subject, x: Tensor, labels: Tensor, memory_format: torch.memory_format) -> Step:
    """A function that does one step of masked training."""
    net, x = copy.deepcopy(subject.net).to(memory_format=memory_format), x.to(memory_format=memory_format)
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9, nesterov=True, weight_decay=5e-4)
    buffers = MaskBuffers({name: w for name, w in prunable(net).items() if name in subject.masks}).to(x.device)
    buffers.fill(subject.masks)

    def step() -> None:
        net.train()
        optimizer.zero_grad()
        F.cross_entropy(net(x), labels).backward()
        buffers.factors.clear_gradients()
        optimizer.step()
        buffers.factors.clear_weights()

    return step


def inference(subject: Subject, x: Tensor, labels: Tensor, memory_format: torch.memory_format) -> Step:
    """A function that runs one batch in eval mode."""
    net, x = copy.deepcopy(subject.net).to(memory_format=memory_format), x.to(memory_format=memory_format)

    def step() -> None:
        net.eval()
        with torch.inference_mode():
            net(x)

    return step


def seconds(step: Step, times: int, device: torch.device) -> float:
    """Seconds per step, averaged over `times` steps."""
    start = time.perf_counter()
    for _ in range(times):
        step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / times


def times_of(steps: list[Step], repeats: int, device: torch.device) -> list[float]:
    """Seconds of each step, as medians over the turns."""
    counts = []
    for step in steps:
        step()
        counts.append(math.ceil(SHORTEST / seconds(step, 1, device)))
    turns = [[seconds(*each, device) for each in zip(steps, counts, strict=True)] for _ in range(repeats)]
    return [median(found) for found in zip(*turns, strict=True)]


def measured(
    cases: list[Case], subjects: list[Subject], what: str, batch: int, repeats: int, device: torch.device
) -> list[dict[str, Any]]:
    """One row for each case; the first subject is the dense net, the others belong to the cases."""
    x, labels = torch.randn(batch, *SHAPE, device=device), torch.zeros(batch, dtype=torch.long, device=device)
    make = training_step if what == "training step" else inference
    steps = [make(subject, x, labels, fmt) for subject in subjects for fmt in FORMATS.values()]
    found = iter(times_of(steps, repeats, device))
    dense, *small = ({fmt: next(found) for fmt in FORMATS} for _ in subjects)
    return [
        {**asdict(case), "what": what, "batch": batch, "dense_seconds": dense, "compact_seconds": own,
         "ratio": min(dense.values()) / min(own.values()),
         "ratio_contiguous": dense["contiguous"] / own["contiguous"]}
        for case, own in zip(cases, small, strict=True)
    ]  # fmt: skip


def channels(net: nn.Module) -> int:
    """The number of output channels of all convolutions together."""
    return sum(module.out_channels for module in net.modules() if isinstance(module, nn.Conv2d))


def table(rows: list[dict[str, Any]], box: Box) -> Table:
    """The results as a table: a row for each compact net, a column with both ratios for each measurement."""
    measurements = list(dict.fromkeys((row["what"], row["batch"]) for row in rows))
    heads = ("net", "scorer", "sparsity", "multiply-adds left", "channels left")
    found = host.table(*heads, *(f"{what}, {batch}" for what, batch in measurements), words=2, box=box)
    for net, scorer, sparsity in dict.fromkeys((row["net"], row["scorer"], row["sparsity"]) for row in rows):
        own = [row for row in rows if (row["net"], row["scorer"], row["sparsity"]) == (net, scorer, sparsity)]
        ratios = {(row["what"], row["batch"]): f"{row['ratio_contiguous']:.3g}x, {row['ratio']:.3g}x" for row in own}
        left = (f"{own[0][key]:.1%}" for key in ("multiply_adds_left", "channels_left"))
        found.add_row(net, scorer, f"{sparsity:g}", *left, *(ratios[key] for key in measurements))
    return found


def main() -> None:
    """Measure, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", nargs="+", default=list(NETS), choices=NETS)
    parser.add_argument("--scorer", nargs="+", default=["synflow", "snip"], choices=["synflow", "snip"])
    parser.add_argument("--sparsity", nargs="+", type=float, default=[0.9, 0.98, 0.99, 0.999])
    parser.add_argument("--batch", nargs="+", type=int, default=[1, 64, 128, 512])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", type=torch.device)
    parser.add_argument("--out", type=Path, help="a JSON file")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--markdown", action="store_true", help="print the table for a document")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    rows: list[dict[str, Any]] = []
    log = host.console(stderr=True)
    for net in given.net:
        torch.manual_seed(0)
        model = named(net, CLASSES, SHAPE).to(given.device)
        everything = {name: torch.ones_like(w, dtype=torch.bool) for name, w in prunable(model).items()}
        cases: list[Case] = []
        subjects = [Subject(model, everything)]
        for scorer in given.scorer:
            for sparsity in given.sparsity:
                try:
                    case, subject = compacted(net, scorer, sparsity, given.device)
                except prune_init.InputError as error:  # disconnected, so there is nothing to compare
                    log.print(f"{net} {scorer} {sparsity:g}: {error}")
                else:
                    cases, subjects = [*cases, case], [*subjects, subject]
        for what in WHAT:
            for batch in given.batch:
                log.print(f"{net}, {what}, batch {batch}")
                rows += measured(cases, subjects, what, batch, given.repeats, given.device)
    host.console().print(table(rows, MARKDOWN if given.markdown else SIMPLE_HEAD))
    if given.out:
        write_json(given.out, {"machine": machine(), "rows": rows})


if __name__ == "__main__":
    main()
