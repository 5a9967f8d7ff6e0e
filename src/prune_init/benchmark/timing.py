"""Estimate the time of a run from a few of its training steps and test batches, under its own Trainer."""

import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf, open_dict

from prune_init.benchmark.stand_in import Source, shortened
from prune_init.command.assembly import make_data, make_module, make_trainer
from prune_init.training.datamodule import TEST_BATCH

WARM = 2
"""Warm-up training steps, which are not counted: in the first ones torch selects its algorithms."""
TESTS = 2
"""Full test batches in each timed epoch."""

Clock = Callable[[], float]


class Timing(NamedTuple):
    """The estimated seconds of one run.

    Attributes:
        start: seconds before the first epoch, such as pruning, and of compiling, which happens in the first epoch.
        step: seconds of a training step, including reading its batch.
        test: seconds of a pass over the test set and the validation set, if there is one.
        rest: other seconds of an epoch, such as those of writing its checkpoint.
        steps: training steps in an epoch.
        epochs: number of epochs of the whole run, over all levels.
    """

    start: float
    step: float
    test: float
    rest: float
    steps: float
    epochs: int

    @property
    def total(self) -> float:
        """Seconds of the whole run."""
        return self.start + self.epochs * (self.steps * self.step + self.test + self.rest)


class Stopwatch(pl.Callback):
    """Record when each batch of the last epoch begins."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.trained, self.tested, self.epochs = list[float](), list[float](), list[float]()
        self.began = self.ended = 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forget the previous epoch's batches."""
        self.epochs.append(time.perf_counter())
        self.trained, self.tested, self.began = [], [], self._now()

    def on_train_batch_start(self, *_: Any) -> None:
        """Record the start of a training step."""
        self.trained.append(self._now())

    def on_validation_batch_start(self, *_: Any, **__: Any) -> None:
        """Record the start of a test batch; the first one is also the end of the last training step."""
        self.tested.append(self._now())

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Record the end of the last test batch."""
        self.tested.append(self._now())

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Record the end of training, after the last epoch's checkpoint."""
        self.epochs.append(time.perf_counter())
        self.ended = self._now()

    def _now(self) -> float:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return self._clock()


def clock() -> Clock:
    """CPU time if one thread does all the work, so that other processes do not count; otherwise the wall clock."""
    return time.perf_counter if torch.cuda.is_available() or torch.get_num_threads() > 1 else time.process_time


def timed(cfg: DictConfig, source: Source, steps: int) -> Timing:
    """Prune as the run of `cfg` would, and time `steps` of its training steps.

    A net compiled by `torch.compile` is timed in a second epoch: in the first, it is also compiled for the smaller last
    batch and for testing, and all later epochs use that code.
    """
    batch = cfg.recipe.batch_size
    train = min(source.train, (WARM + steps) * batch + source.train % batch)
    short = shortened(source.dataset, train, min(source.test, TESTS * TEST_BATCH + source.test % TEST_BATCH))
    watch = Stopwatch(clock())
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    with tempfile.TemporaryDirectory() as folder:
        cfg = cfg.copy()
        with open_dict(cfg):
            cfg.logger, cfg.force = {}, True
        module = make_module(cfg, make_data(cfg, source.dataset), lambda *_: None)
        trainer = make_trainer(cfg, Path(folder), [watch])
        epochs = trainer.max_epochs or 0
        trainer.fit_loop.max_epochs = min(epochs, 2 if cfg.compile else 1)
        before = time.perf_counter()
        trainer.fit(module, datamodule=make_data(cfg, short))
        spent = time.perf_counter() - before
    if not epochs:
        return Timing(spent, 0.0, 0.0, 0.0, 0.0, 0)
    tests = (source.test + cfg.validation) / TEST_BATCH
    return _summed(watch, before, epochs, (source.train - cfg.validation) / batch, tests)


def _summed(watch: Stopwatch, before: float, epochs: int, steps: float, tests: float) -> Timing:
    marks = [*watch.trained, watch.tested[0]]
    pauses = [later - earlier for earlier, later in pairwise(marks)]
    whole = pauses[WARM:-1] or pauses[:-1] or pauses
    tested = [later - earlier for earlier, later in pairwise(watch.tested)]
    lengths = [later - earlier for earlier, later in pairwise(watch.epochs)]
    return Timing(
        start=watch.epochs[0] - before + max(0.0, lengths[0] - lengths[-1]),
        step=_undisturbed(whole),
        test=_undisturbed(tested[:-1] or tested) * tests,
        rest=max(0.0, watch.ended - watch.began - (watch.tested[-1] - watch.trained[0])),
        steps=steps,
        epochs=epochs,
    )


def _undisturbed(seconds: list[float]) -> float:
    """The lower quartile: about the median on an idle machine, and closer to an idle machine's on a busy one."""
    return sorted(seconds)[len(seconds) // 4]


def same(cfg: DictConfig) -> str:
    """The settings that decide how long a run takes: runs that agree in them are timed once.

    The seed does not count, and the sparsity only if the net is compacted.
    """
    kept = OmegaConf.to_container(OmegaConf.masked_copy(cfg, [str(k) for k in cfg if k != "hydra"]), resolve=True)
    assert isinstance(kept, dict)
    gone = ["seed", "results", "logger", "force", "exponent"] + ([] if cfg.compact else ["sparsity"])
    return str({key: value for key, value in kept.items() if key not in gone})
