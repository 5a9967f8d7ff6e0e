"""Results like those of runs, made without running."""

from pathlib import Path
from typing import Any

from prune_init.record import results
from prune_init.record.run_record import RunRecord


def record(
    scorer: str = "snip", exponent: float = 1.0, seed: int = 0, top1: float | None = 0.5, layers: int = 5, **more: Any
) -> RunRecord:
    """A record of two epochs; `config` is merged into the configuration, every other key replaces a field."""
    base, changes = more.pop("dataset", "fashion_small"), more.pop("config", {})
    net, size = more.get("architecture", "conv"), {"num_classes": 10, "input_shape": [1, 28, 28]}
    config: dict[str, Any] = {
        "dataset": {"name": base, **size},
        "architecture": {"name": net, "_target_": f"prune_init.architectures.{net}.{net}", **size},
        "scorer": {"name": scorer, "mode": "eval"},
        "schedule": {"name": "exponential"},
        "ablation": {"name": "none"},
        "lifecycle": {"name": "prune_then_train"},
        "recipe": {"name": "quick", "epochs": 2, "optimizer": {"lr": 0.1}},
        **{"mode": None, "scope": "global", "target": "nominal", "precision": "32-true", "compact": False},
        **{"train": top1 is not None, "seed": seed, "exponent": exponent, "sparsity": 1 - 10**-exponent},
    }
    rows = [{"name": f"{i}.weight", "shape": [10, 10], "size": 100, "kept": 10, "effective": 9} for i in range(layers)]
    accuracies = {"last": top1, "best": None if top1 is None else top1 + 0.01, "at_best_validation": None}
    fields: dict[str, Any] = {
        "identity": f"{scorer}-{exponent}-{seed}-{base}-{sorted(more.items())}-{sorted(changes.items())}",
        "config": merged(config, changes),
        **{"scorer": scorer, "architecture": "conv", "dataset": base, "seed": seed},
        **{"sparsity": 1 - 10**-exponent, "exponent": exponent},
        **{"effective_sparsity": 1 - 10 ** -(exponent + 0.1), "connected": True},
        "layers": [{**row, "density": 0.1} for row in rows],
        "cost": {"passes": 100, "iterations": 100, "examples_per_iteration": 1, "flops": 10**9, "seconds": 0.5},
        "top1": accuracies,
        "top5": accuracies,
        "seconds": {"setup": 0.1, "scoring": 0.5, "training": 2.0, "total": 2.7},
        "versions": {"torch": "2.11", "prune_init": "0.1.0"},
        "commit": None,
    }
    return RunRecord.model_validate({**fields, **more})


def merged(config: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`config` with `changes` merged into it group by group."""
    both = dict(config)
    for key, value in changes.items():
        both[key] = merged(config.get(key) or {}, value) if isinstance(value, dict) else value
    return both


def add(folder: Path, content: RunRecord) -> Path:
    """Write the folder of a run, with the curve of two epochs."""
    folder.mkdir(parents=True, exist_ok=True)
    results.write(folder, content)
    folder.joinpath("metrics.csv").write_text("epoch,test/top1\n1,0.5\n2,0.7\n")
    return folder
