"""The table of all results: its columns, and how a result.json becomes a row."""

from collections.abc import Callable
from operator import attrgetter
from typing import Any

from prune_init.record.run_record import RunRecord

SCHEMA = 1

Row = dict[str, Any]


def flat(record: RunRecord, folder: str) -> Row:
    """Make a row of plain values from a result; `folder` is the run's folder, as it will be shown.

    Raises:
        KeyError, TypeError: the configuration lacks a key that every configuration has.
    """
    return {"schema": SCHEMA, "folder": folder, **{name: get(record) for name, (_, get, _) in COLUMNS.items()}}


def _at(path: str) -> Callable[[RunRecord], Any]:
    """A function that gets the attribute or key at `path`, or None if something on the way is None."""

    def get(value: Any) -> Any:
        for name in path.split("."):
            value = None if value is None else value[name] if isinstance(value, dict) else getattr(value, name)
        return value

    return get


def _mode(record: RunRecord) -> Any:
    return record.config["mode"] or record.config["scorer"].get("mode", "eval")


def _sum(key: str) -> Callable[[RunRecord], int]:
    return lambda record: sum(map(attrgetter(key), record.layers))


COLUMNS: dict[str, tuple[type, Callable[[RunRecord], Any], str]] = {
    "identity": (str, _at("identity"), "SHA-256 of all that defines the result"),
    "dataset": (str, _at("dataset"), "name of the data set"),
    "architecture": (str, _at("architecture"), "name of the network"),
    "scorer": (str, _at("scorer"), "name of the scorer"),
    "seed": (int, _at("seed"), "of weights, data order and scoring"),
    "sparsity": (float, _at("sparsity"), "fraction of prunable weights to remove"),
    "exponent": (float, _at("exponent"), "log10 of the compression ratio"),
    "mode": (str, _mode, "train or eval: norm layers while scoring"),
    "iterations": (int, _at("cost.iterations"), "scoring iterations done"),
    "schedule": (str, _at("config.schedule.name"), "density after each iteration"),
    "scope": (str, _at("config.scope"), "global or layer"),
    "target": (str, _at("config.target"), "nominal or effective: which sparsity was asked for"),
    "ablation": (str, _at("config.ablation.name"), "what the ablation changes, or none"),
    "lifecycle": (str, _at("config.lifecycle.name"), "prune_then_train or lottery_ticket"),
    "recipe": (str, lambda record: record.config["recipe"].get("name"), "name of the recipe"),
    "epochs": (int, _at("config.recipe.epochs"), "of the recipe"),
    "trained": (bool, _at("config.train"), "false: pruned only"),
    "compact": (bool, _at("config.compact"), "true: trained without the dead channels"),
    "precision": (str, _at("config.precision"), "of training"),
    "weights": (int, _sum("size"), "prunable weights"),
    "kept": (int, _sum("kept"), "weights kept"),
    "empty_layers": (int, lambda r: sum(layer.kept == 0 for layer in r.layers), "layers without any weight kept"),
    "effective_sparsity": (float, _at("effective_sparsity"), "sparsity over weights on a path; empty if unknown"),
    "connected": (bool, _at("connected"), "whether any path is left; empty if unknown"),
    "passes": (int, _at("cost.passes"), "forward and backward passes while scoring"),
    "flops": (int, _at("cost.flops"), "floating-point operations while scoring"),
    "top1_last": (float, _at("top1.last"), "test accuracy after the last epoch, 0 to 1; empty without training"),
    "top1_best": (float, _at("top1.best"), "largest test accuracy of all epochs, as published"),
    "top1_best_epoch": (int, _at("top1.best_epoch"), "the first epoch that has it, from 1"),
    "top1_at_best_validation": (float, _at("top1.at_best_validation"), "test accuracy where validation was best"),
    "top1_best_validation": (float, _at("top1.best_validation"), "validation accuracy there"),
    "best_validation_epoch": (int, _at("top1.best_validation_epoch"), "that epoch"),
    "top5_last": (float, _at("top5.last"), "as top1_last"),
    "top5_best": (float, _at("top5.best"), "as top1_best"),
    "top5_at_best_validation": (float, _at("top5.at_best_validation"), "as top1_at_best_validation"),
    "seconds_setup": (float, _at("seconds.setup"), "until the run was built"),
    "seconds_scoring": (float, _at("seconds.scoring"), "of scoring and pruning"),
    "seconds_training": (float, _at("seconds.training"), "of all epochs"),
    "seconds_total": (float, _at("seconds.total"), "of the whole run"),
    "multiply_adds_dense": (int, _at("compaction.multiply_adds.dense"), "of one image; with compact only"),
    "multiply_adds_compact": (int, _at("compaction.multiply_adds.compact"), "without the dead channels"),
    "device": (str, _at("device.name"), "model of the GPU or the processor"),
    "processor": (str, _at("device.processor"), "model of the host's processor"),
    "threads": (int, _at("device.threads"), "of PyTorch, in each process"),
    "torch": (str, _at("versions.torch"), "version"),
    "prune_init": (str, _at("versions.prune_init"), "version"),
    "commit": (str, _at("commit"), "of the source tree; + if it had changes; empty outside a checkout"),
}
"""Type, getter and meaning of each column by its name. Before them come `schema` (of this table) and `folder`."""

SAID = (
    *("dataset.name", "architecture.name", "scorer.name", "seed", "sparsity", "exponent", "mode", "scorer.mode"),
    *("iterations", "scorer.iterations", "schedule.name", "scope", "target", "ablation.name", "lifecycle.name"),
    *("lifecycle.sparsity", "recipe.name", "recipe.epochs", "train", "compact", "precision"),
)
"""Configuration keys that these columns already show."""
