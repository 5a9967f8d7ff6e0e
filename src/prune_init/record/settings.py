"""Root values of the configuration: resolvers that fill them in, and the name and identity of a run.

OmegaConf calls the resolvers while Hydra composes; they are registered when this module is imported.
"""

import hashlib
import json
import math
import os
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from prune_init.errors import InputError
from prune_init.record import given_masks

PLACE = ("hydra", "results", "logger", "checkpoint", "weights", "export", "force")
"""Keys that say where and how a run happens, not what it computes; they are no part of its identity ..."""

PLACES_WITHIN = {
    "dataset": ("root", "download", "workers"),
    "trainer": (
        "_target_",
        "accelerator",
        "devices",
        "num_nodes",
        "strategy",
        "deterministic",
        "benchmark",
        "profiler",
    ),
}
"""... nor are these keys of groups."""

LATER: dict[str, Any] = {
    "masks": None,
    "tf32": False,
    "callbacks": {},
    "loss": {
        "name": "cross_entropy",
        "_target_": "torch.nn.functional.cross_entropy",
        "_partial_": True,
        "label_smoothing": 0.0,
    },
}
"""Keys that were added with these defaults. With them a run is the one that it was before there was the key."""

LATER_WITHIN = (("recipe", "drop_last", False), ("schedule", "counts", "nearest"))
"""The same for keys of groups."""

TOLD = {
    "mode": None,
    "iterations": None,
    "schedule.name": "exponential",
    "scope": "global",
    "ablation.name": "none",
    "target": "nominal",
    "lifecycle.name": "prune_then_train",
    "recipe.name": "quick",
    "validation": 0,
    "precision": "32-true",
    "tf32": False,
    "compact": False,
    "train": True,
    "loss.name": "cross_entropy",
}
"""Keys that are often swept, with their defaults: a run's name tells which of them differ, its hash covers all keys."""


def sparsity(default: float, *, _parent_: DictConfig) -> float:
    """The fraction removed: of `masks` or from `exponent`, if given, else `default`. Never fails: `limits` judges."""
    if isinstance(path := _parent_.get("masks"), str):
        try:
            return given_masks.facts(path).sparsity
        except InputError:
            return math.nan
    if OmegaConf.is_interpolation(_parent_, "exponent"):
        return default
    given = _parent_.exponent
    return 1 - 10.0**-given if isinstance(given, (int, float)) else math.nan


def exponent(*, _parent_: DictConfig) -> float:
    """log10 of the compression ratio, the x axis of the published figures: -log10(1 - sparsity)."""
    given = _parent_.sparsity
    # The 0.0 makes a dense net's exponent 0, not -0.
    return 0.0 - math.log10(1 - given) if isinstance(given, (int, float)) and given < 1 else math.nan


def run_name(*, _root_: DictConfig) -> str:
    """Folder of a run below `results`."""
    return name(_root_, identity(_root_))


def name(cfg: DictConfig, identity: str) -> str:
    """What people look for and what differs from the defaults, then a hash of everything that defines the result."""
    what = [scorer_name(_root_=cfg), f"x{cfg.exponent:.2f}", f"s{cfg.seed}"]
    for key, default in TOLD.items():
        value = OmegaConf.select(cfg, key, default=default)
        if value != default and not (cfg.get("masks") and key.partition(".")[0] in given_masks.CHOOSERS):
            what.append(_told(key.removesuffix(".name").rpartition(".")[2], value))
    what += sorted(map(str, cfg.get("callbacks") or {}))
    return f"{cfg.dataset.name}/{cfg.architecture.name}/{'-'.join(what)}-{identity[:8]}"


def _told(key: str, value: object) -> str:
    """A word speaks for itself; anything else needs its key."""
    if isinstance(value, bool):
        return key if value else f"no_{key}"
    return value if isinstance(value, str) else f"{key}{value}"


def identity(cfg: DictConfig) -> str:
    """SHA-256 of the resolved configuration without the keys that only say where the run happens.

    Sparsity and exponent are one number: its rounding must not depend on which of the two was given. Masks that are
    given count by their content, and what would have chosen others does not.
    """
    plain = resolved(cfg)
    for group, keys in PLACES_WITHIN.items():
        plain[group] = {key: value for key, value in plain[group].items() if key not in keys}
    del plain["exponent"]
    plain["sparsity"] = f"{1 - plain['sparsity']:.9g}"
    for key, default in LATER.items():
        if (plain.get(key) or default) == default:
            plain.pop(key, None)
    for group, key, default in LATER_WITHIN:
        if plain[group].get(key, default) == default:
            plain[group].pop(key, None)
    if "masks" in plain:
        plain = {key: value for key, value in plain.items() if key not in given_masks.CHOOSERS}
    return hashlib.sha256(json.dumps(plain, sort_keys=True, default=str).encode()).hexdigest()


def preset() -> str | None:
    """The name of the experiment that was chosen, if any."""
    return HydraConfig.get().runtime.choices.get("experiment") if HydraConfig.initialized() else None


def scorer_name(*, _root_: DictConfig) -> str:
    """Of the scorer, or what stands in its place."""
    return given_masks.NAME if _root_.get("masks") else str(_root_.scorer.name)


def resolved(cfg: DictConfig) -> dict[str, Any]:
    """What defines a result, as plain values; masks that are given by their checksum."""
    plain = {
        str(key): OmegaConf.to_container(value, resolve=True, throw_on_missing=True)
        if OmegaConf.is_config(value)
        else value
        for key, value in cfg.items()
        if key not in PLACE
    }
    if cfg.get("masks"):
        plain |= {"masks": given_masks.facts(str(cfg.masks)).checksum, "scorer": {"name": given_masks.NAME}}
    return plain


def env(name: str, default: Any = None) -> Any:
    """An environment variable; one that is empty is not set."""
    return os.environ.get(name) or default


def env_list(name: str) -> list[str]:
    """The words of an environment variable, which has commas between them."""
    return [word.strip() for word in os.environ.get(name, "").split(",") if word.strip()]


OmegaConf.register_new_resolver("env", env, replace=True)
OmegaConf.register_new_resolver("env_list", env_list, replace=True)
OmegaConf.register_new_resolver("sparsity", sparsity, replace=True)
OmegaConf.register_new_resolver("exponent", exponent, replace=True)
OmegaConf.register_new_resolver("run_name", run_name, replace=True)
OmegaConf.register_new_resolver("preset", preset, replace=True)
OmegaConf.register_new_resolver("scorer_name", scorer_name, replace=True)
OmegaConf.register_new_resolver("run_id", lambda *, _root_: identity(_root_)[:16], replace=True)
