"""The one table of all results: its columns, and the row that one result.json becomes."""

from collections.abc import Callable
from typing import Any

SCHEMA = 1

Row = dict[str, Any]


def flat(result: Row, folder: str) -> Row:
    """One row of plain values from one result.json; `folder` says where it lies.

    Raises:
        KeyError, TypeError: something that every result holds is not there.
    """
    row = {name: get(result) for name, (_, get, _) in COLUMNS.items()}
    for name, value in row.items():
        wanted = COLUMNS[name][0]
        if value is not None and type(value) is not wanted and (wanted, type(value)) != (float, int):
            raise TypeError(f"{name} is {value!r}")
    return {"schema": SCHEMA, "folder": folder, **row}


def _at(*path: str) -> Callable[[Row], Any]:
    def get(result: Any) -> Any:
        for key in path:
            result = result[key]
        return result

    return get


def _optional(*path: str) -> Callable[[Row], Any]:
    def get(result: Any) -> Any:
        for key in path:
            result = result.get(key) if isinstance(result, dict) else None
        return result

    return get


def _mode(result: Row) -> Any:
    config = result["config"]
    return config["mode"] or config["scorer"].get("mode", "eval")


def _sum(key: str) -> Callable[[Row], int]:
    return lambda result: sum(layer[key] for layer in result["layers"])


COLUMNS: dict[str, tuple[type, Callable[[Row], Any], str]] = {
    "identity": (str, _at("identity"), "SHA-256 of all that defines the result"),
    "dataset": (str, _at("dataset"), "name of the data set"),
    "architecture": (str, _at("architecture"), "name of the network"),
    "scorer": (str, _at("scorer"), "name of the scorer"),
    "seed": (int, _at("seed"), "of weights, data order and scoring"),
    "sparsity": (float, _at("sparsity"), "fraction of prunable weights to remove"),
    "exponent": (float, _at("exponent"), "log10 of the compression ratio"),
    "mode": (str, _mode, "train or eval: norm layers while scoring"),
    "iterations": (int, _at("cost", "iterations"), "scoring iterations done"),
    "schedule": (str, _at("config", "schedule", "name"), "density after each iteration"),
    "scope": (str, _at("config", "scope"), "global or layer"),
    "target": (str, _at("config", "target"), "nominal or effective: which sparsity was asked for"),
    "ablation": (str, _at("config", "ablation", "name"), "what was spoilt, or none"),
    "lifecycle": (str, _at("config", "lifecycle", "name"), "prune_then_train or lottery_ticket"),
    "recipe": (str, _optional("config", "recipe", "name"), "name of the recipe"),
    "epochs": (int, _at("config", "recipe", "epochs"), "of the recipe"),
    "trained": (bool, _at("config", "train"), "false: pruned only"),
    "compact": (bool, _at("config", "compact"), "true: trained without the dead channels"),
    "precision": (str, _at("config", "precision"), "of training"),
    "weights": (int, _sum("size"), "prunable weights"),
    "kept": (int, _sum("kept"), "weights kept"),
    "empty_layers": (int, lambda r: sum(layer["kept"] == 0 for layer in r["layers"]), "layers without any weight kept"),
    "effective_sparsity": (float, _at("effective_sparsity"), "sparsity over weights on a path; empty if unknown"),
    "connected": (bool, _at("connected"), "whether any path is left; empty if unknown"),
    "passes": (int, _at("cost", "passes"), "forward and backward passes while scoring"),
    "flops": (int, _at("cost", "flops"), "floating-point operations while scoring"),
    "top1_last": (float, _at("top1", "last"), "test accuracy after the last epoch, 0 to 1; empty without training"),
    "top1_best": (float, _at("top1", "best"), "largest test accuracy of all epochs, as published"),
    "top1_at_best_validation": (float, _at("top1", "at_best_validation"), "test accuracy where validation was best"),
    "top5_last": (float, _at("top5", "last"), "as top1_last"),
    "top5_best": (float, _at("top5", "best"), "as top1_best"),
    "top5_at_best_validation": (float, _at("top5", "at_best_validation"), "as top1_at_best_validation"),
    "seconds_setup": (float, _at("seconds", "setup"), "until the run was built"),
    "seconds_scoring": (float, _at("seconds", "scoring"), "of scoring and pruning"),
    "seconds_training": (float, _at("seconds", "training"), "of all epochs"),
    "seconds_total": (float, _at("seconds", "total"), "of the whole run"),
    "multiply_adds_dense": (int, _optional("compaction", "multiply_adds", "dense"), "of one image; with compact only"),
    "multiply_adds_compact": (int, _optional("compaction", "multiply_adds", "compact"), "without the dead channels"),
    "device": (str, _optional("device", "name"), "model of the GPU or the processor"),
    "torch": (str, _at("versions", "torch"), "version"),
    "prune_init": (str, _at("versions", "prune_init"), "version"),
    "commit": (str, _at("commit"), "of the source tree; + if it had changes; empty outside a checkout"),
}
"""Name, type, where in result.json, meaning. Before them come `schema` (of this table) and `folder`."""
