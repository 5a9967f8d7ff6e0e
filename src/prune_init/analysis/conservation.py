"""Both conservation theorems, checked at initialisation and during training: one table for each step."""

import argparse
import copy
from collections.abc import Iterable, Iterator, Sequence
from itertools import count, islice

import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional as F

from prune_init import host
from prune_init.allowed import SEED
from prune_init.architectures.inputs import image_shape, positive
from prune_init.architectures.named import NETWORKS, named
from prune_init.arguments import Parser, whole
from prune_init.data.fashion_small import fashion_small
from prune_init.data.images import Batch, Loader
from prune_init.data.seeding import generator
from prune_init.errors import InputError
from prune_init.flow.laws import Conservation, conservation

TOLERANCE = 1e-10
LEARNING_RATE = 0.01


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and train, and print a table at each of the steps asked for."""
    _parser().run(lambda options: _report(options, host.console()), arguments)


def _parser() -> Parser:
    parser = Parser(__doc__)
    parser.add_argument("--architecture", default="conv", choices=NETWORKS, help="the network (default: %(default)s)")
    parser.add_argument(
        "--input-shape", type=int, nargs=3, metavar=("C", "H", "W"), help="random images; default: the embedded ones"
    )
    parser.add_argument("--num-classes", type=int, default=10, help="of random images (default: %(default)s)")
    parser.add_argument("--mode", choices=("eval", "train"), default="eval", help="state of batch norm and dropout")
    parser.add_argument("--objective", choices=("sum", "synflow", "cross-entropy"), default="sum", help="the scalar R")
    parser.add_argument("--steps", type=int, nargs="+", default=[], metavar="N", help="measure again after N SGD steps")
    parser.add_argument("--seed", type=whole(SEED), default=0, help="of weights and batches (default: %(default)s)")
    return parser


def _report(options: argparse.Namespace, console: Console) -> None:
    steps = sorted({0, *options.steps})
    if steps[0] < 0:
        raise InputError("--steps", steps[0], "allowed: whole numbers from 0")
    (x, targets), batches = _data(options)
    torch.manual_seed(options.seed)
    model = named(options.architecture, options.num_classes, x.shape[1:])
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    for before, step in zip([0, *steps], steps, strict=False):
        train(model, optimizer, islice(batches, step - before))
        when = f"after {step} steps of SGD" if step else "at initialisation"
        result = _measured(model, x, targets, options)
        console.print(_table(result, f"{options.architecture}, {options.mode} mode, R = {options.objective}, {when}"))
        verdicts = {True: "Both theorems hold", False: "The theorems do not hold", None: "A flow is not finite"}
        console.print(
            f"{verdicts[result.holds(TOLERANCE)]}: residuals up to {result.max_residual:.1e} of the largest flow.\n"
        )
        for name, reason in result.broken.items():
            console.print(f"[bold]{escape(name)}[/] breaks them: {escape(reason)}")


def _data(options: argparse.Namespace) -> tuple[Batch, Iterator[Batch]]:
    """One batch to measure flow on, and an endless series of batches to train on."""
    if options.input_shape is None:
        dataset = fashion_small(num_classes=options.num_classes, input_shape=(1, 28, 28))
        loader = dataset.train_loader(64, seed=options.seed, device="cpu", augment=False)
        return dataset.sample(2, seed=options.seed, augment=False)[0], endless(loader)
    random = generator(options.seed, "random images")
    shape = image_shape(options.input_shape)

    def draw() -> Batch:
        images = torch.randn(20, *shape, generator=random)
        return images, torch.randint(positive("num_classes", options.num_classes), (20,), generator=random)

    return draw(), (draw() for _ in count())


def train(model: nn.Module, optimizer: torch.optim.Optimizer, batches: Iterable[Batch]) -> None:
    """Take one optimiser step on the cross-entropy of each batch, in train mode."""
    model.train()
    for inputs, labels in batches:
        optimizer.zero_grad()
        F.cross_entropy(model(inputs), labels).backward()
        optimizer.step()


def endless(loader: Loader) -> Iterator[Batch]:
    """The batches of `loader`, epoch after epoch without end."""
    for epoch in count():
        loader.set_epoch(epoch)
        yield from loader


def _measured(model: nn.Module, x: Tensor, targets: Tensor, options: argparse.Namespace) -> Conservation:
    if options.objective == "cross-entropy":
        return conservation(model, x, objective=lambda y: F.cross_entropy(y, targets), mode=options.mode)
    if options.objective == "synflow":
        return conservation(non_negative(model), torch.ones_like(x[:1]), mode=options.mode)
    return conservation(model, x, mode=options.mode)


def non_negative(model: nn.Module) -> nn.Module:
    """A copy with absolute values of all parameters and buffers, as SynFlow scores it (Tanaka et al. 2020, eq. 4)."""
    model = copy.deepcopy(model)
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.abs_()
    return model


def _table(result: Conservation, title: str) -> Table:
    """One row for each layer: the neurons that begin there, and the cut before it."""
    first, second = (max(map(result.residual, law), default=0.0) for law in (result.neurons, result.cuts))
    heads = ("layer", "neurons", "flow in", "flow out", "theorem 1", "cut before it", "+ biases", "theorem 2")
    feet = ("largest, <dR/dy, y>", "", "", "", f"{first:.1e}", f"{result.output:.5g}", "", f"{second:.1e}")
    table = host.table(*heads, feet=feet, title=title, title_justify="left")
    begins = {neurons.layer: neurons for neurons in result.neurons}
    for cut in result.cuts:
        cells = [""] * 4  # for a layer whose output is added to neurons that begin at an earlier layer
        if neurons := begins.get(cut.layer):
            flows = [f"{float(flow.sum()):.5g}" for flow in (neurons.incoming, neurons.outgoing)]
            cells = [f"{len(neurons.incoming):,}", *flows, f"{result.residual(neurons):.1e}"]
        table.add_row(cut.layer, *cells, f"{cut.weights:.5g}", f"{cut.biases:.5g}", f"{result.residual(cut):.1e}")
    return table


if __name__ == "__main__":
    main()
