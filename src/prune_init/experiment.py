"""One run: prune at initialisation, train, record."""

import logging
import os
import time
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.accelerators import CPUAccelerator
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import WandbLogger
from safetensors.torch import save_file

from prune_init import results
from prune_init.console import Console
from prune_init.errors import InputError
from prune_init.explain import refusal, refused
from prune_init.pruning import masks
from prune_init.pruning.effective import to_effective_sparsity
from prune_init.pruning.loop import prune
from prune_init.pruning.result import PruneResult
from prune_init.settings import identity, resolved
from prune_init.training.datamodule import DataModule
from prune_init.training.history import History
from prune_init.training.module import PruneThenTrain
from prune_init.training.progress import ProgressBars


def run(cfg: DictConfig, folder: Path, console: Console) -> dict[str, Any]:
    """Run what `cfg` says in `folder` and return the row that is written there as result.json.

    A finished run of the same configuration is returned as it is, unless `force` is set.

    Raises:
        InputError: `folder` holds a run of another configuration.
    """
    done = results.read(folder, identity(cfg))
    if done is not None and not cfg.force:
        console.already_done(done, folder)
        return done
    start = time.perf_counter()
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    data = DataModule(
        build(cfg.dataset).split(cfg.validation, seed=cfg.seed), batch_size=cfg.recipe.batch_size, seed=cfg.seed
    )
    bars = ProgressBars(console.rich)
    module = _module(cfg, data, bars)
    history = History(folder / "metrics.csv")
    cycles = build(cfg.lifecycle) if "_target_" in cfg.lifecycle else None
    trainer = _trainer(cfg, folder, [*([cycles] if cycles else []), history, bars])
    if cycles is not None:
        trainer.fit_loop.max_epochs = cycles.max_epochs
    (folder / "result.json").unlink(missing_ok=True)
    console.plan(cfg, folder)
    ready = time.perf_counter()
    try:
        trainer.fit(module, datamodule=data)
    finally:
        bars.stop()
        _finish_loggers(trainer)
    row = {
        "status": "complete",
        "identity": identity(cfg),
        "config": resolved(cfg),
        **{group: cfg[group].name for group in ("scorer", "architecture", "dataset")},
        **{key: cfg[key] for key in ("seed", "sparsity", "exponent")},
        **{key: module.pruning[key] for key in ("effective_sparsity", "connected", "layers", "cost")},
        "top1": history.accuracy("top1"),
        "top5": history.accuracy("top5"),
        "seconds": {
            "setup": ready - start,
            "scoring": module.pruning["cost"]["seconds"],
            "training": sum(epoch["seconds"] for epoch in history.rows),
            "total": time.perf_counter() - start,
        },
        "versions": results.versions(),
        "commit": results.commit(),
    }
    if trainer.is_global_zero:
        _write(folder, row, module, keep_weights=not cfg.train)
        console.outcome(row, folder)
    return row


def build(choice: DictConfig, **more: Any) -> Any:
    """The object that a config group's choice describes; its `name` is a label, not an argument.

    Raises:
        InputError: the target is not there or refuses the arguments.
    """
    try:
        return instantiate({key: value for key, value in choice.items_ex(resolve=True) if key != "name"}, **more)
    except InstantiationException as error:
        why = refusal(error)
        if why is None or isinstance(error.__cause__, InputError):
            raise
        raise refused(str(choice._get_full_key(None)), choice.name, why) from error


def _module(cfg: DictConfig, data: DataModule, bars: ProgressBars) -> PruneThenTrain:
    return PruneThenTrain(
        build(cfg.architecture),
        prune=_pruner(cfg, bars),
        sample=partial(data.sample, cfg.sample.per_class, batch_size=cfg.sample.batch_size, augment=cfg.sample.augment),
        optimizer=instantiate(cfg.recipe.optimizer),
        scheduler=instantiate(cfg.recipe.scheduler),
        num_classes=cfg.dataset.num_classes,
        **_chosen(cfg),
    )


def _pruner(cfg: DictConfig, bars: ProgressBars) -> "partial[PruneResult]":
    generator = torch.Generator().manual_seed(cfg.seed)
    pruner = partial(
        prune,
        scorer=build(cfg.scorer),
        sparsity=cfg.sparsity,
        iterations=cfg.iterations,
        schedule=build(cfg.schedule),
        scope=cfg.scope,
        mode=cfg.mode,
        input_shape=tuple(cfg.dataset.input_shape),
        generator=generator,
        progress=bars.scoring,
        **_chosen(cfg),
    )
    if cfg.lifecycle.name == "lottery_ticket":
        return partial(pruner, sparsity=0.0)  # level 0 is dense
    if cfg.target == "effective":
        return partial(to_effective_sparsity, pruner)
    if cfg.ablation.name != "none":
        return partial(build(cfg.ablation), pruner, generator=generator, fresh=partial(build, cfg.architecture))
    return pruner


def _chosen(cfg: DictConfig) -> dict[str, Any]:
    """Which weights to prune, as plain values."""
    return {
        key: OmegaConf.to_object(cfg[key]) if OmegaConf.is_config(cfg[key]) else cfg[key]
        for key in ("include", "exclude")
    }


def _trainer(cfg: DictConfig, folder: Path, callbacks: list[pl.Callback]) -> pl.Trainer:
    if cfg.checkpoint:
        keep = ModelCheckpoint(folder, save_last=True, save_on_train_epoch_end=True, enable_version_counter=False)
        callbacks = [*callbacks, keep]
    _quiet()
    try:
        trainer: pl.Trainer = instantiate(
            cfg.trainer,
            max_epochs=cfg.recipe.epochs if cfg.train else 0,
            callbacks=callbacks,
            logger=_logger(cfg, folder),
            default_root_dir=folder,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=cfg.checkpoint,
            num_sanity_val_steps=0,
        )
    except InstantiationException as error:
        why = refusal(error)
        if why is None:
            raise
        raise refused("trainer", cfg.trainer._target_, why) from error
    cores = os.cpu_count() or 1
    if isinstance(trainer.accelerator, CPUAccelerator) and trainer.num_devices > cores:
        raise refused("trainer", f"{trainer.num_devices} devices", f"there is no GPU; allowed: 1 to {cores} processes")
    last = folder / "last.ckpt"
    if cfg.checkpoint and last.exists() and not cfg.force:
        trainer.ckpt_path = last
    return trainer


def _quiet() -> None:
    """Leave out what Lightning says of every run: which devices are absent, and what else one could install."""
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)
    for message in (".*LeafSpec.*", ".*srun.*", ".*does not have many workers.*", ".*exists and is not empty.*"):
        warnings.filterwarnings("ignore", message=message)


def _logger(cfg: DictConfig, folder: Path) -> Any:
    if not cfg.logger:
        return False
    logger = instantiate(cfg.logger, save_dir=folder)
    logger.log_hyperparams(resolved(cfg))
    return logger


def _finish_loggers(trainer: pl.Trainer) -> None:
    """End the W&B run: it would otherwise swallow the next run of this process."""
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            logger.experiment.finish()


def _write(folder: Path, row: dict[str, Any], module: PruneThenTrain, *, keep_weights: bool) -> None:
    masks.save(folder / "masks.safetensors", module.masks.tensors(), module.pruning["settings"])
    if keep_weights:
        partial_file = folder / "weights.safetensors.partial"
        save_file({name: t.detach().cpu().contiguous() for name, t in module.net.state_dict().items()}, partial_file)
        partial_file.replace(folder / "weights.safetensors")
    results.write(folder, row)
