"""Build the parts of a run from its configuration; the parts themselves receive plain arguments."""

import logging
import warnings
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.plugins.environments import SLURMEnvironment
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from prune_init.command import building
from prune_init.command.building import build, check_devices, chosen
from prune_init.data.dataset import Dataset
from prune_init.errors import InputError
from prune_init.loop import prune
from prune_init.pruning.bar import Progress
from prune_init.pruning.effective import to_effective_sparsity
from prune_init.pruning.result import PruneResult
from prune_init.record import given_masks
from prune_init.record.settings import identity
from prune_init.training.datamodule import DataModule
from prune_init.training.last_batch import check_last_batch, check_sample
from prune_init.training.lottery_ticket import LotteryTicket
from prune_init.training.module import PruneThenTrain
from prune_init.training.prune_first import PruneFirst
from prune_init.training.resume import BeforeTheEnd, Resumable, WholeCheckpoints, last_checkpoint


def make_data(cfg: DictConfig, dataset: Dataset) -> DataModule:
    """The data module, which makes batches of the data set."""
    drop_last = cfg.recipe.get("drop_last", False)
    return DataModule(dataset, batch_size=cfg.recipe.batch_size, seed=cfg.seed, drop_last=drop_last)


def make_module(cfg: DictConfig, data: DataModule, progress: Progress) -> PruneThenTrain:
    """The Lightning module: the network, its loss, and how it is pruned and trained."""
    generator = torch.Generator().manual_seed(cfg.seed)
    return PruneThenTrain(
        build(cfg.architecture),
        prune=_pruner(cfg, generator, progress),
        sample=partial(data.sample, cfg.sample.per_class, batch_size=cfg.sample.batch_size, augment=cfg.sample.augment),
        optimizer=instantiate(cfg.recipe.optimizer),
        scheduler=instantiate(cfg.recipe.scheduler),
        loss=build(cfg.loss),
        compact_for=tuple(cfg.dataset.input_shape) if cfg.compact else None,
        generator=generator,
        channels_last=cfg.channels_last,
        compiled=cfg.compile,
        **chosen(cfg),
    )


def _pruner(cfg: DictConfig, generator: torch.Generator, progress: Progress) -> "partial[PruneResult]":
    shape = tuple(cfg.dataset.input_shape)
    if cfg.masks:
        return partial(given_masks.prune, path=cfg.masks, input_shape=shape, **chosen(cfg))
    pruner = partial(
        prune,
        scorer=build(cfg.scorer),
        sparsity=cfg.sparsity,
        iterations=cfg.iterations,
        schedule=building.schedule(cfg.schedule),
        counts=cfg.schedule.get("counts", "nearest"),
        scope=cfg.scope,
        mode=cfg.mode,
        input_shape=shape,
        loss=build(cfg.loss),
        generator=generator,
        progress=progress,
        **chosen(cfg),
    )
    if cfg.lifecycle.name == "lottery_ticket":
        return partial(pruner, sparsity=0.0)  # level 0 is dense
    if cfg.target == "effective":
        return partial(to_effective_sparsity, pruner)
    if "_target_" in cfg.ablation:
        return partial(build(cfg.ablation), pruner, generator=generator, fresh=partial(build, cfg.architecture))
    return pruner


def make_trainer(
    cfg: DictConfig, folder: Path, callbacks: list[pl.Callback], code: Mapping[str, str] | None = None
) -> pl.Trainer:
    """Lightning's Trainer; with `checkpoint`, it resumes from the folder's last.ckpt, if there is one.

    Checkpoints keep `code`, the checksums of users' own classes.
    """
    check_devices(cfg)  # again: a cluster's node has other devices than the machine that submitted the job
    cycles: LotteryTicket | None = build(cfg.lifecycle) if "_target_" in cfg.lifecycle else None
    chosen_ones = [build(callback) for callback in (cfg.callbacks or {}).values()]
    first = [PruneFirst()] if chosen_ones else []
    callbacks = [*first, *([] if cycles is None else [cycles]), *chosen_ones, *callbacks]
    last = last_checkpoint(folder, identity(cfg))
    if cfg.checkpoint:
        callbacks += [Resumable(identity(cfg), code)]
        kind = BeforeTheEnd if chosen_ones else ModelCheckpoint
        callbacks.append(kind(folder, "last", save_on_train_epoch_end=True, enable_version_counter=False))
    epochs = 0 if not cfg.train else cfg.recipe.epochs if cycles is None else cycles.max_epochs
    _quiet()
    _let_round(tf32=cfg.tf32)
    benchmark = cfg.trainer.benchmark
    trainer: pl.Trainer = build(
        cfg.trainer,
        max_epochs=epochs,
        benchmark=not cfg.trainer.deterministic if benchmark is None else benchmark,
        callbacks=callbacks,
        logger=instantiate(cfg.logger, save_dir=folder) if cfg.logger else False,
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=cfg.checkpoint,
        num_sanity_val_steps=0,
        plugins=_plugins(),
    )
    # Lightning took the rank from SLURM, where a task need not be a rank of this run.
    rank_zero_only.rank = trainer.global_rank  # type: ignore[attr-defined]
    if cfg.checkpoint and not cfg.force:
        trainer.ckpt_path = last
    return trainer


def check_batches(cfg: DictConfig, data: DataModule, module: PruneThenTrain, trainer: pl.Trainer) -> None:
    """Refuse batches that the net cannot be scored or trained on, once data and devices are known.

    Raises:
        InputError: naming the batch size, or the limit that leaves no batches.
    """
    if not cfg.masks and (cfg.mode or cfg.scorer.get("mode")) == "train" and "examples_per_class" in cfg.scorer:
        images = cfg.sample.per_class * cfg.dataset.num_classes
        check_sample(module.net, cfg.dataset.input_shape, images=images, batch_size=cfg.sample.batch_size)
    data.trainer = trainer
    seen = _batches_per_epoch(data, trainer)
    if not cfg.train:
        return
    sampler = data.train_dataloader().sampler
    if sampler.smallest() == 1 and (seen == len(sampler) or sampler.batch_size == 1):
        check_last_batch(
            module.net,
            cfg.dataset.input_shape,
            images=sampler.count,
            batch_size=cfg.recipe.batch_size,
            world=trainer.world_size,
        )


def _batches_per_epoch(data: DataModule, trainer: pl.Trainer) -> int:
    """The batches of training, once limits are refused that Lightning would refuse only after pruning."""
    train, *tests = (len(loader) for loader in (data.train_dataloader(), *data.val_dataloader()))
    for key, batches in (("limit_train_batches", train), ("limit_val_batches", min(tests))):
        limit = getattr(trainer, key)
        if isinstance(limit, float) and limit > 0 and int(limit * batches) == 0:
            why = f"leaves none of {batches} batches; allowed: a whole number of batches, or a larger share"
            raise InputError(f"trainer.{key}", limit, why)
    some = trainer.limit_val_batches
    tested = _limited(tests[0], some)
    if 0 < tested < tests[0]:
        warnings.warn(f"accuracies are of {tested} of {tests[0]} test batches: limit_val_batches={some}", stacklevel=2)
    limit, every = trainer.limit_train_batches, trainer.val_check_interval
    seen = _limited(train, limit)
    if isinstance(every, int) and every > seen and trainer.limit_val_batches:
        raise InputError("trainer.val_check_interval", every, f"allowed: up to {seen}, the batches of an epoch")
    return seen


def _limited(batches: int, limit: int | float) -> int:
    """How many of these batches a limit of Lightning leaves: a number of them, or a share."""
    return min(batches, limit) if isinstance(limit, int) else int(batches * limit)


def _plugins() -> list[Any]:
    """Write checkpoints atomically; in a SLURM job take ranks from SLURM, but without Lightning's requeueing."""
    return [WholeCheckpoints(), *([SLURMEnvironment(auto_requeue=False)] if SLURMEnvironment.detect() else [])]


def _let_round(*, tf32: bool) -> None:
    """Make `32-true` mean IEEE float32 on a GPU, unless the user asks for TF32, which is cuDNN's own default."""
    torch.backends.cudnn.allow_tf32 = tf32
    torch.set_float32_matmul_precision("high" if tf32 else "highest")


def _quiet() -> None:
    """Silence messages that Lightning repeats in every run, such as absent devices and packages one could install."""
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)
    for message in (
        ".*LeafSpec.*",
        ".*srun.*",
        ".*does not have many workers.*",
        ".*smaller than the logging interval.*",  # curves are logged by epoch
        ".*exists and is not empty.*",
        ".*all_gather is deprecated.*",
    ):
        warnings.filterwarnings("ignore", message=message)
