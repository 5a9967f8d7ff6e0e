"""How much faster compact nets are than the masked nets they equal: VGG-16 and ResNet-18 on 32x32 images.

    python scripts/bench_compaction.py --out compaction.json

Dense and compact net take turns, so that a machine that slows down slows both; times are medians. Each net runs in
both memory formats, and its faster one counts: which one that is depends on width, batch and threads. A training step
is forward, backward, masks on gradients, SGD, masks on weights.
"""

import argparse
import copy
import json
import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

import prune_init
from prune_init.architectures.resnet import resnet
from prune_init.architectures.vgg import vgg
from prune_init.benchmark.machine import machine
from prune_init.pruning.masks import Tensors
from prune_init.pruning.weights import prunable
from prune_init.training.mask_buffers import MaskBuffers

SHAPE, CLASSES = (3, 32, 32), 10
NETS: dict[str, Callable[[], nn.Module]] = {
    "vgg16": lambda: vgg(16, CLASSES, SHAPE),
    "resnet18": lambda: resnet(18, CLASSES, SHAPE),
}
SHORTEST = 0.1
"""Seconds that one measurement takes at least; short steps are repeated within it."""
FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}

Maker = Callable[[torch.memory_format], Callable[[], None]]
"""Gives one step of a net in a memory format."""


def pruned(name: str, scorer: str, sparsity: float, iterations: int | None) -> tuple[nn.Module, Tensors]:
    """A net and its masks; SNIP scores in eval mode, on 10 random images per class."""
    torch.manual_seed(0)
    model = NETS[name]()
    if scorer == "synflow":
        return model, prune_init.prune(model, scorer, sparsity, iterations=iterations).masks
    labels = torch.arange(CLASSES).repeat_interleave(10)
    data = [(torch.randn(len(labels), *SHAPE), labels)]
    return model, prune_init.prune(model, scorer, sparsity, mode="eval", data=data).masks


def training_step(
    net: nn.Module, masks: Tensors, x: Tensor, labels: Tensor, memory_format: torch.memory_format
) -> Callable[[], None]:
    """One step of masked training."""
    net, x = copy.deepcopy(net).to(memory_format=memory_format), x.to(memory_format=memory_format)
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9, nesterov=True, weight_decay=5e-4)
    buffers = MaskBuffers({name: w for name, w in prunable(net).items() if name in masks}).to(x.device)
    buffers.fill(masks)

    def step() -> None:
        net.train()
        optimizer.zero_grad()
        F.cross_entropy(net(x), labels).backward()
        buffers.clear_gradients()
        optimizer.step()
        buffers.clear_weights()

    return step


def inference(net: nn.Module, x: Tensor, memory_format: torch.memory_format) -> Callable[[], None]:
    """One batch in eval mode."""
    net, x = copy.deepcopy(net).to(memory_format=memory_format), x.to(memory_format=memory_format)

    def step() -> None:
        net.eval()
        with torch.inference_mode():
            net(x)

    return step


def seconds(step: Callable[[], None], times: int, device: torch.device) -> float:
    """Per step, over `times` steps."""
    start = time.perf_counter()
    for _ in range(times):
        step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / times


def compared(makers: dict[str, Maker], repeats: int, device: torch.device) -> dict[str, Any]:
    """Dense and compact, in both memory formats, in turns."""
    steps = {(net, fmt): make(FORMATS[fmt]) for net, make in makers.items() for fmt in FORMATS}
    counts = {}
    for key, step in steps.items():
        seconds(step, 1, device)
        counts[key] = math.ceil(SHORTEST / seconds(step, 1, device))
    times: dict[tuple[str, str], list[float]] = {key: [] for key in steps}
    for _ in range(repeats):
        for key, step in steps.items():
            times[key].append(seconds(step, counts[key], device))
    medians = {key: median(found) for key, found in times.items()}
    best = {net: min((medians[net, fmt], fmt) for fmt in FORMATS) for net in makers}
    return {
        **{f"{net}_{fmt}_seconds": found for (net, fmt), found in times.items()},
        **{f"{net}_seconds": best[net][0] for net in makers},
        **{f"{net}_format": best[net][1] for net in makers},
        "ratio": best["dense"][0] / best["compact"][0],
    }


def multiply_adds(net: nn.Module) -> int:
    """For one image."""
    device = next(net.parameters()).device
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net.eval()(torch.zeros(1, *SHAPE, device=device))
    return counter.get_total_flops() // 2


def channels(net: nn.Module) -> int:
    """Output channels of all convolutions."""
    return sum(module.out_channels for module in net.modules() if isinstance(module, nn.Conv2d))


def measured(case: dict[str, Any], batches: list[int], arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """One row for each batch size and for training and inference."""
    device = torch.device(arguments.device)
    model, masks = pruned(case["net"], case["scorer"], case["sparsity"], arguments.iterations)
    model = model.to(device)
    started = time.perf_counter()
    small: Any = prune_init.compact(model, torch.empty(1, *SHAPE), masks=masks)
    case |= {
        "compacting_seconds": time.perf_counter() - started,
        "multiply_adds_left": multiply_adds(small) / multiply_adds(model),
        "channels_left": channels(small) / channels(model),
    }
    rows = []
    for batch in batches:
        x, labels = torch.randn(batch, *SHAPE, device=device), torch.zeros(batch, dtype=torch.long, device=device)
        nets = {"dense": (model, masks), "compact": (small, small.compaction.masks)}
        makers: dict[str, dict[str, Maker]] = {
            "training step": {name: partial(training_step, *net, x, labels) for name, net in nets.items()},
            "inference": {name: partial(inference, net, x) for name, (net, _) in nets.items()},
        }
        for what, both in makers.items():
            rows.append({**case, "batch": batch, "what": what, **compared(both, arguments.repeats, device)})
    return rows


def table(rows: list[dict[str, Any]]) -> Table:
    """What the JSON holds, for people."""
    found = Table(box=SIMPLE_HEAD, title="Dense net / compact net")
    titles = (
        "net",
        "scorer",
        "sparsity",
        "multiply-adds",
        "channels",
        "what",
        "batch",
        "dense",
        "compact",
        "formats",
        "ratio",
    )
    for title in titles:
        found.add_column(title, justify="left" if title in ("net", "scorer", "what") else "right")
    for row in rows:
        found.add_row(
            row["net"], row["scorer"], f"{row['sparsity']:g}", f"{row['multiply_adds_left']:.1%}",
            f"{row['channels_left']:.1%}", row["what"], str(row["batch"]), f"{1e3 * row['dense_seconds']:.2f} ms",
            f"{1e3 * row['compact_seconds']:.2f} ms", f"{row['dense_format']}/{row['compact_format']}",
            f"{row['ratio']:.2f}x",
        )  # fmt: skip
    return found


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", nargs="+", default=list(NETS), choices=list(NETS))
    parser.add_argument("--scorer", nargs="+", default=["synflow", "snip"], choices=["synflow", "snip"])
    parser.add_argument("--sparsity", nargs="+", type=float, default=[0.9, 0.98, 0.99, 0.999])
    parser.add_argument("--batch", nargs="+", type=int, default=[1, 64, 128, 512])
    parser.add_argument("--iterations", type=int, help="of SynFlow; default: its own, 100")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, help="a JSON file")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows: list[dict[str, Any]] = []
    for net in arguments.net:
        for scorer in arguments.scorer:
            for sparsity in arguments.sparsity:
                case = {"net": net, "scorer": scorer, "sparsity": sparsity}
                try:
                    rows += measured(case, arguments.batch, arguments)
                except prune_init.InputError as error:  # disconnected: there is nothing to compare
                    Console(stderr=True).print(f"{net} {scorer} {sparsity:g}: {error}")
    Console(width=160).print(table(rows))
    if arguments.out:
        arguments.out.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
