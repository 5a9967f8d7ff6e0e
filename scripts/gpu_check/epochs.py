"""Epochs under Lightning, including loader and tallies, compared with the same steps in a bare loop."""

import time
from typing import Any

import pytorch_lightning as pl
import torch
from torch.nn import functional as F

import prune_init
from gpu_check.card import bf16
from gpu_check.fits import fit
from gpu_check.nets import CUDA, DEVICE, net, once, wait
from gpu_check.report import Report
from gpu_check.steps import judge, nets_and_batches, rate
from prune_init.benchmark.speed.cases import SGD, images
from prune_init.benchmark.speed.utilisation import step_flops
from prune_init.data.sampler import Sampler

MOST = 1.05
"""The time of the Trainer on a GPU may be at most this many times that of the bare loop."""
EPOCHS = 3
"""Number of epochs, of which the first is not counted."""
PRECISIONS = {"bf16-mixed": True, "32-true": False}
"""For each precision, by Lightning's name: whether the bare loop uses autocast to bf16."""


class Stopwatch(pl.Callback):
    """Measures the seconds of the training steps of each epoch, without its test and its checkpoint."""

    def __init__(self) -> None:
        self.seconds = list[float]()
        self._start = 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock when the device is idle."""
        wait()
        self._start = time.perf_counter()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the clock when the device has finished all steps."""
        wait()
        self.seconds.append(time.perf_counter() - self._start)


def lightning(report: Report, *, quick: bool) -> None:
    """Compare the fastest of several epochs on each side, so that other load on the machine affects neither."""
    highest, steps = bf16(quick=quick), 2 if quick else 100
    torch.backends.cudnn.benchmark = True  # as in the Trainer of a run
    for name, batch in nets_and_batches("vgg16", quick=quick):
        work, shares = step_flops(net(name).to(DEVICE)) * batch, {}
        for precision in PRECISIONS if batch <= 128 else ["bf16-mixed"]:
            case: dict[str, Any] = {"net": name, "batch": batch, "precision": precision}
            with report.attempt(**case):
                ours = _trainer(name, batch, precision, steps) / steps
                bare = _bare(name, batch, precision, steps) / steps
                found = rate(ours, batch, work, highest)
                shares[precision] = found["share"]
                passes = ours <= MOST * bare if CUDA else None
                report.say(**case, **found, bare_ms=1e3 * bare, overhead=ours / bare - 1, passes=passes)
        judge(report, name, batch, {key: share for key, share in shares.items() if key == "bf16-mixed"})


def _trainer(name: str, batch: int, precision: str, steps: int) -> float:
    watch = Stopwatch()
    options: Any = {"channels_last": True, "scorer": "random_uniform", "callbacks": [watch]}
    fit(name, EPOCHS, count=steps * batch, batch=batch, precision=precision, **options)
    return min(watch.seconds[1:])


def _bare(name: str, batch: int, precision: str, steps: int) -> float:
    """The bare loop: the same net, images, masks and optimiser, but no tallies and no Trainer."""
    model = net(name).to(DEVICE)
    result = prune_init.prune(model, "random_uniform", 0.98)
    model.to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(model.parameters(), fused=True, **SGD | {"lr": 0.05})
    result.keep(optimizer)
    count = steps * batch
    loader = images(count).loader(Sampler(count, batch, seed=0), device=DEVICE, augment=0)

    def epoch() -> None:
        for x, y in loader:
            with torch.autocast(DEVICE.type, torch.bfloat16, enabled=PRECISIONS[precision]):
                loss = F.cross_entropy(model(x.contiguous(memory_format=torch.channels_last)), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return min([once(epoch) for _ in range(EPOCHS)][1:])
