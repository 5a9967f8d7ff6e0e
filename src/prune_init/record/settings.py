"""Resolvers that compute root values of the configuration, and the name and identity of a run.

OmegaConf calls the resolvers while Hydra composes; importing this module registers them.
"""

import hashlib
import json
import math
import os
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from prune_init.errors import InputError
from prune_init.record import given_masks, later, shipped
from prune_init.record.keys import label, leaves, refers, without_places

PLACE = ("hydra", "results", "logger", "checkpoint", "weights", "export", "force")
"""Keys that say where and how a run is computed, not what it computes. Like the keys that `keys.places` names, they are
not part of its identity."""

TOLD = (
    *("mode", "iterations", "schedule.name", "scope", "ablation.name", "target", "lifecycle.name", "recipe.name"),
    *("validation", "precision", "tf32", "compact", "train", "loss.name"),
)
"""Keys that are often swept: a run's name contains those that differ from the defaults."""

GROUPS = ("dataset", "architecture", "scorer", "schedule", "recipe", "loss", "lifecycle", "ablation")
"""Groups: a run's name contains their keys that differ from the choice's file. The hash in the name covers all keys."""

NAMED = ("seed", "sparsity", "exponent", "masks", "callbacks", "method", "pair", "cell", "experiment")
"""Root keys that get no label of their own in a run's name: `name` includes them otherwise, or leaves them out."""

LONGEST = 160
"""Maximum length of a name without the hash; file systems allow 255."""


def sparsity(default: float, *, _parent_: DictConfig) -> float:
    """The fraction removed: from `masks` or `exponent` if given, else `default`; NaN for bad values, for `schema`."""
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
    # Subtracting from 0.0 gives 0 for a dense net, not -0.
    return 0.0 - math.log10(1 - given) if isinstance(given, (int, float)) and given < 1 else math.nan


def run_name(*, _root_: DictConfig) -> str:
    """The folder of a run, relative to `results`."""
    return folder(Path(str(_root_.get("results", "."))), _root_, identity(_root_))


def folder(results: Path, cfg: DictConfig, identity: str) -> str:
    """The folder of a run below `results`: an existing one with the run's hash, whatever its name, else a new name."""
    new = name(cfg, identity)
    if not (results / new).is_dir():
        there = sorted((results / new).parent.glob(f"*-{identity[:8]}"))
        return there[0].relative_to(results).as_posix() if there else new
    return new


def name(cfg: DictConfig, identity: str) -> str:
    """The name of a run: data set, network, scorer, compression, seed, what differs from the defaults, and its hash."""
    what = [scorer_name(_root_=cfg), f"x{cfg.exponent:.2f}", f"s{cfg.seed}"]
    defaults = {key: _default(key) for key in TOLD}
    often = {key: OmegaConf.select(cfg, key, default=default) for key, default in defaults.items()}
    special = {key: value for key, value in often.items() if value != defaults[key]}
    for key, value in (special | _unusual(cfg)).items():
        if not (cfg.get("masks") and key.partition(".")[0] in given_masks.CHOOSERS):
            what.append(label(key, value))
    what += sorted(map(str, cfg.get("callbacks") or {}))
    told = "-".join(what)[:LONGEST].rstrip("-.")
    return f"{cfg.dataset.name}/{cfg.architecture.name}/{told}-{identity[:8]}"


def _default(key: str) -> Any:
    return shipped.groups().get(key.removesuffix(".name")) or shipped.content("config").get(key)


def _unusual(cfg: DictConfig) -> dict[str, Any]:
    """The keys whose values differ from those in the files of the choices."""
    given: dict[str, Any] = {
        group: OmegaConf.to_container(cfg[group], resolve=False) for group in GROUPS if group in cfg
    }
    own = [str(key) for key in cfg if key not in (*PLACE, *TOLD, *GROUPS, *NAMED, "trainer")]
    root = OmegaConf.to_container(OmegaConf.masked_copy(cfg, own), resolve=False)
    assert isinstance(root, dict)
    usual = leaves(shipped.content("config"))
    for group in given:
        if not refers(given[group].get("name")):
            usual |= leaves(shipped.content(f"{group}/{cfg[group].name}"), group)
    return {
        key: value
        for key, value in leaves({**given, **{str(key): value for key, value in root.items()}}).items()
        if not ((key in usual and value == usual[key]) or key in TOLD or refers(value) or _no_file(key, usual))
    }


def _no_file(key: str, usual: dict[str, Any]) -> bool:
    """Whether the key belongs to a group whose choice is the user's own, so that its usual values are unknown."""
    group = key.partition(".")[0]
    return group in GROUPS and f"{group}.name" not in usual


def identity(cfg: DictConfig) -> str:
    """SHA-256 of the resolved configuration without the keys that only say where the run is computed.

    Sparsity and exponent are one number, whose rounding must not depend on which of the two was given. Given masks
    count by their content; the keys that they replace (`given_masks.CHOOSERS`) do not count.
    """
    plain = without_places(resolved(cfg))
    del plain["exponent"]
    plain["sparsity"] = f"{1 - plain['sparsity']:.9g}"
    plain = later.removed(plain)
    if "masks" in plain:
        plain = {key: value for key, value in plain.items() if key not in given_masks.CHOOSERS}
    return hashlib.sha256(json.dumps(plain, sort_keys=True, default=str).encode()).hexdigest()


def preset() -> str | None:
    """The choice of the group `experiment`, if any."""
    return HydraConfig.get().runtime.choices.get("experiment") if HydraConfig.initialized() else None


def scorer_name(*, _root_: DictConfig) -> str:
    """The name of the scorer, or `given_masks.NAME` if masks are given."""
    return given_masks.NAME if _root_.get("masks") else str(_root_.scorer.name)


def resolved(cfg: DictConfig) -> dict[str, Any]:
    """The configuration without the keys in `PLACE`, as plain values; given masks are replaced by their checksum."""
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
    """The value of an environment variable; an empty one counts as not set."""
    return os.environ.get(name) or default


def env_list(name: str) -> list[str]:
    """The comma-separated words of an environment variable."""
    return [word.strip() for word in os.environ.get(name, "").split(",") if word.strip()]


def run_id(*, _root_: DictConfig) -> str:
    """The id of the run on a dashboard: the first 16 digits of its identity."""
    return identity(_root_)[:16]


for resolver in (env, env_list, sparsity, exponent, run_name, run_id, preset, scorer_name):
    OmegaConf.register_new_resolver(resolver.__name__, resolver, replace=True)
