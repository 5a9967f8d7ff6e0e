"""The cases of the speed benchmark; each prepares our side and the plain one anew for every repetition."""

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from prune_init.analysis.conservation import train
from prune_init.architectures.named import named
from prune_init.benchmark.speed import baseline
from prune_init.data.arrays import ArrayImages
from prune_init.data.augmentation import CropFlip
from prune_init.data.sampler import Sampler
from prune_init.host import compiler
from prune_init.loop import prune
from prune_init.training.module import PruneThenTrain

Act = Callable[[], object]
Prepare = Callable[[], Act]
SMALL, LARGE = (3, 32, 32), (3, 224, 224)
SPARSITY, BATCH = 0.98, 128
MEAN, STD = (0.491, 0.482, 0.447), (0.247, 0.243, 0.262)
SGD: dict[str, Any] = {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}
WORKERS = 2
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


@dataclass(frozen=True)
class Case:
    """A comparison: `ours` and `plain` each prepare one repetition and return the function to time."""

    name: str
    ours: Prepare
    plain: Prepare
    what: str


NETS: dict[str, Callable[[], nn.Module]] = {
    "vgg16-cifar100": lambda: named("vgg16", 100, SMALL),
    "resnet20-x2": lambda: named("resnet20", 10, SMALL, width=32),
    "resnet20-x4": lambda: named("resnet20", 10, SMALL, width=64),
    "vgg19-224": lambda: named("vgg19", 1000, LARGE),
}
"""Any other name is a name of `architectures.named`, with ten classes."""


def seconds(act: Act) -> dict[str, float]:
    """Seconds that `act` takes: by the wall clock, and CPU time of this process and of those it started and awaited."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    wall, cpu = time.perf_counter(), _cpu_seconds()
    act()
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return {"wall": time.perf_counter() - wall, "cpu": _cpu_seconds() - cpu}


def _cpu_seconds() -> float:
    usages = (getrusage(whose) for whose in (RUSAGE_SELF, RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def made(net: str) -> nn.Module:
    """Make a net, with the same weights at every call."""
    torch.manual_seed(0)
    return (NETS[net]() if net in NETS else named(net, 10, SMALL)).to(DEVICE)


def batches(per_class: int) -> list[tuple[Tensor, Tensor]]:
    """A pruning sample of noise, in batches of at most 256."""
    labels = torch.arange(10).repeat(per_class)
    images = torch.randn(len(labels), *SMALL, generator=torch.Generator().manual_seed(0))
    return list(zip(images.to(DEVICE).split(256), labels.to(DEVICE).split(256), strict=True))


def pruning(net: str, scorer: str, iterations: int = 1, per_class: int = 10) -> Case:
    """Pruning to a sparsity of 98 %: ours with the scorer's defaults, the plain one in float32."""
    data = batches(per_class) if scorer != "synflow" else None
    shape = LARGE if net.endswith("224") else SMALL
    score = baseline.synflow(shape) if data is None else {"snip": baseline.snip, "grasp": baseline.grasp}[scorer](data)

    def ours() -> Act:
        model = made(net)
        return lambda: prune(model, scorer, SPARSITY, iterations=iterations, input_shape=shape, data=data)

    def plain() -> Act:
        model = baseline.masked(made(net))
        return lambda: baseline.prune(model, score, SPARSITY, iterations)

    examples = f", {sum(len(y) for _, y in data)} examples" if data else ""
    return Case(f"{scorer} {net}", ours, plain, f"98 %, {iterations} iterations{examples}")


def images(count: int) -> ArrayImages:
    """Images of noise in the shape of CIFAR-10."""
    random = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (count, *SMALL), generator=random, dtype=torch.uint8)
    return ArrayImages(pixels, torch.arange(count) % 10, MEAN, STD, CropFlip())


def epoch(net: str, count: int, *, channels_last: bool = False, precision: str = "32-true") -> Case:
    """A training epoch: ours of a pruned net under Lightning, the plain one in a loop, with masks of ones."""

    def ours() -> Act:
        return fitted(net, count, precision, channels_last=channels_last)

    def plain() -> Act:
        model, noise = baseline.masked(made(net)), images(count)
        photographs = baseline.Photographs(noise.pixels, noise.labels, MEAN, STD)
        loader = DataLoader(photographs, BATCH, shuffle=True, num_workers=WORKERS)
        optimizer = torch.optim.SGD(model.parameters(), **SGD)
        return lambda: baseline.epoch(model, optimizer, loader)

    label = f"epoch {net}{', bf16' if precision == 'bf16-mixed' else ''}{', channels_last' if channels_last else ''}"
    return Case(label, ours, plain, f"{count} images, batch {BATCH}")


def fitted(net: str, count: int, precision: Any, *, batch: int = BATCH, **options: Any) -> Act:
    """Prune a net with our code; return a function that trains it for one epoch under Lightning's Trainer."""
    optimizer: Any = partial(torch.optim.SGD, fused=True, **SGD)
    pruner: Any = partial(prune, scorer="random_uniform", sparsity=SPARSITY)
    module = PruneThenTrain(made(net), prune=pruner, sample=lambda device: [], optimizer=optimizer, **options)
    trainer: Any = pl.Trainer(
        max_epochs=1, precision=precision, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    device = trainer.strategy.root_device
    loader: Any = images(count).loader(Sampler(count, batch, seed=0), device=device, augment=0)
    module.prune(device)
    return lambda: trainer.fit(module, loader)


def trainer_overhead(net: str, count: int) -> Case:
    """Our epoch under Lightning beside the same steps in a bare loop: the ratio shows what the Trainer costs."""

    def plain() -> Act:
        model = made(net)
        optimizer = torch.optim.SGD(model.parameters(), fused=True, **SGD)
        prune(model, "random_uniform", SPARSITY).keep(optimizer)
        loader = images(count).loader(Sampler(count, BATCH, seed=0), device=DEVICE, augment=0)
        return lambda: train(model, optimizer, loader)

    return Case(f"trainer {net}", lambda: fitted(net, count, "32-true"), plain, f"{count} images; plain: a bare loop")


def compiled_steps(net: str, count: int = 3) -> Case:
    """Training steps of a net compiled by `torch.compile` beside those of the plain net; compiling is not timed."""

    def prepared(compiled: bool) -> Act:
        model = made(net)
        if compiled:
            model.compile()
        optimizer = torch.optim.SGD(model.parameters(), fused=True, **SGD)
        steps = count * [(torch.randn(BATCH, *SMALL, device=DEVICE), torch.arange(BATCH, device=DEVICE) % 10)]
        train(model, optimizer, steps)  # compiles
        return lambda: train(model, optimizer, steps)

    what = f"{count} steps, batch {BATCH}; plain: not compiled"
    return Case(f"compiled {net}", partial(prepared, True), partial(prepared, False), what)


def start_up() -> Case:
    """`--help` beside importing the libraries that it needs."""

    def run(*arguments: str) -> Prepare:
        return lambda: lambda: subprocess.run([sys.executable, *arguments], check=True, capture_output=True)

    imports = "import torch, torchvision, pytorch_lightning, hydra"
    return Case("start-up", run("-m", "prune_init", "--help"), run("-c", imports), f"--help; plain: {imports}")


def cases(*, quick: bool) -> list[Case]:
    """All cases; with `quick`, a few with small nets, to see that everything runs."""
    if quick:
        return [
            pruning("resnet20", "synflow", 4),
            pruning("conv", "snip"),
            pruning("conv", "grasp", per_class=2),
            epoch("conv", 256),
            trainer_overhead("conv", 256),
        ]
    return [
        pruning("vgg16-cifar100", "synflow", 100),
        pruning("resnet18", "synflow", 100),
        pruning("vgg19-224", "synflow", 10),
        *(pruning(net, scorer) for scorer in ("snip", "grasp") for net in ("vgg16", "resnet18")),
        *(epoch(net, 5 * BATCH) for net in ("vgg16", "resnet18")),
        *(epoch(net, 5 * BATCH, channels_last=True) for net in ("vgg16", "resnet18")),
        *(epoch(net, 5 * BATCH, channels_last=True, precision="bf16-mixed") for net in ("vgg16", "resnet18")),
        *(compiled_steps(net) for net in ("resnet20", "vgg16", "resnet18") if compiler()),
        trainer_overhead("resnet20", 20 * BATCH),
        start_up(),
    ]


def growths(*, quick: bool) -> dict[str, Sequence[tuple[int, Case]]]:
    """Series of cases of growing size, by name; only our side is timed."""
    if quick:
        return {"iterations": [(n, pruning("conv", "synflow", n)) for n in (2, 4)]}
    return {
        "iterations (synflow, vgg16)": [(n, pruning("vgg16", "synflow", n)) for n in (10, 30, 100, 300)],
        "width (synflow, resnet20, 100 iterations)": [
            (width, pruning(net, "synflow", 100))
            for width, net in ((1, "resnet20"), (2, "resnet20-x2"), (4, "resnet20-x4"))
        ],
        "examples (snip, resnet20)": [(10 * n, pruning("resnet20", "snip", per_class=n)) for n in (10, 30, 100)],
    }
