"""One run: prune at initialisation, train, record."""

import time
from pathlib import Path

import pytorch_lightning as pl
from omegaconf import DictConfig
from safetensors.torch import save_file

from prune_init.command.assembly import check_batches, make_data, make_module, make_trainer
from prune_init.command.console import Console
from prune_init.data.dataset import Dataset
from prune_init.files import whole
from prune_init.pruning import masks
from prune_init.pruning.cost import forget_peak
from prune_init.record import own_code, results
from prune_init.record.device import described
from prune_init.record.run_record import PhaseSeconds, RunRecord, TrainingEnd
from prune_init.record.settings import identity, resolved, scorer_name
from prune_init.training.dashboards import opened
from prune_init.training.datamodule import DataModule
from prune_init.training.exporting import Export
from prune_init.training.history import History
from prune_init.training.module import PruneThenTrain
from prune_init.training.progress import ProgressBars


def run(cfg: DictConfig, folder: Path, console: Console, dataset: Dataset, reading: float) -> RunRecord:
    """Prune and train as `cfg` says and return the record that is written to `folder` as result.json.

    Args:
        cfg: the configuration, already checked.
        folder: the run folder, which exists.
        console: shows plan and outcome.
        dataset: the data set of the configuration.
        reading: the seconds that building it took.
    """
    start = time.perf_counter() - reading
    code = own_code.checksums(resolved(cfg))  # now, as the files may change during the run
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    bars, history = ProgressBars(console.rich), History(folder / "metrics.csv")
    data = make_data(cfg, dataset)
    module = make_module(cfg, data, bars.scoring)
    export = Export(cfg.export, cfg.dataset.input_shape) if cfg.export else None
    trainer = make_trainer(cfg, folder, [history, bars, *([export] if export else [])], code)
    check_batches(cfg, data, module, trainer)
    console.rich.quiet = not trainer.is_global_zero
    with opened(trainer, resolved(cfg)) as dashboards:
        console.plan(cfg, folder)
        ready = time.perf_counter()
        forget_peak(trainer.strategy.root_device)
        try:
            trainer.fit(module, datamodule=data)
            if history.rows and (cfg.callbacks or history.ends_untested):
                _test_what_is_left(trainer, module, data, history)
            history.close(trainer)
        finally:
            bars.stop()
        seconds = PhaseSeconds(
            setup=ready - start,
            scoring=module.pruning["cost"]["seconds"],
            training=sum(epoch["seconds"] for epoch in history.rows),
            total=time.perf_counter() - start + history.seconds_before,
        )
        record = _record(cfg, trainer, module, history, seconds).model_copy(update={"code": code})
        if trainer.is_global_zero:
            _write(folder, record, module, keep_weights=not cfg.train if cfg.weights is None else cfg.weights)
            if export is not None:
                console.exporting(cfg.export)
                exported = export.write(module, folder)
                record = record.model_copy(update={"export": exported})
                _write(folder, record, module, keep_weights=exported.error is not None)
            for dashboard in dashboards:
                dashboard.record(record, folder)
            console.outcome(record, folder, [dashboard.where() for dashboard in dashboards])
    return record


def _test_what_is_left(trainer: pl.Trainer, module: PruneThenTrain, data: DataModule, history: History) -> None:
    """Test the final net: callbacks may change it after the last test, and a run stopped early may lack a test."""
    trainer.ckpt_path = None  # test the net as training left it, not a checkpoint
    trainer.validate(module, datamodule=data, verbose=False)
    history.amend(trainer)


def _record(
    cfg: DictConfig, trainer: pl.Trainer, module: PruneThenTrain, history: History, seconds: PhaseSeconds
) -> RunRecord:
    found, epochs = module.pruning, len(history.rows)
    stopped = epochs < (trainer.max_epochs or 0) or history.broken_off
    return RunRecord(
        identity=identity(cfg),
        config=resolved(cfg),
        scorer=scorer_name(_root_=cfg),
        architecture=cfg.architecture.name,
        dataset=cfg.dataset.name,
        seed=cfg.seed,
        sparsity=cfg.sparsity,
        exponent=cfg.exponent,
        effective_sparsity=found["effective_sparsity"],
        connected=found["connected"],
        layers=found["layers"],
        cost=found["cost"],
        ties=found.get("ties"),
        compaction=found.get("compaction"),
        top1=history.accuracy("top1"),
        top5=history.accuracy("top5"),
        seconds=seconds,
        trained=TrainingEnd(epochs=epochs, steps=trainer.global_step, stopped=stopped),
        device=described(trainer.strategy.root_device, trainer.world_size),
        versions=results.versions(),
        commit=results.commit(),
    )


def _write(folder: Path, record: RunRecord, module: PruneThenTrain, *, keep_weights: bool) -> None:
    masks.save(folder / "masks.safetensors", module.masks.tensors(), module.pruning["settings"])
    if keep_weights:
        state = {name: t.detach().cpu().contiguous() for name, t in module.whole_net().state_dict().items()}
        with whole(folder / "weights.safetensors") as path:
            save_file(state, path)
    results.write(folder, record)
