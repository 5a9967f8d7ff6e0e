"""Root values of the configuration: resolvers that fill them in, checks, and the name of a run.

OmegaConf calls the resolvers while Hydra composes; they are registered when this module is imported.
"""

import hashlib
import json
import math
import os
from importlib.util import find_spec
from shutil import which
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from prune_init.errors import InputError, one_of

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
    "compact": False,
    "train": True,
}
"""Keys that are often swept, with their defaults: a run's name tells which of them differ, its hash covers all keys."""

CHOICES = {
    "scope": ("global", "layer"),
    "mode": ("train", "eval", None),
    "target": ("nominal", "effective"),
    "export": ("pt2", "onnx", None),
    "logger.mode": ("online", "offline", "disabled", "", None),
    "trainer.accelerator": ("auto", "cpu", "cuda", "gpu", "mps", "tpu"),
    "precision": ("64-true", "32-true", "16-true", "bf16-true", "16-mixed", "bf16-mixed"),
}
"""Root values that take one of a few words; None leaves it to the scorer, or out."""

OURS = {
    "max_epochs": "recipe.epochs",
    "enable_checkpointing": "checkpoint",
    "logger": "logger",
    **dict.fromkeys(("callbacks", "plugins", "default_root_dir", "num_sanity_val_steps"), "the run itself"),
    **dict.fromkeys(("enable_progress_bar", "enable_model_summary"), "the run itself"),
}
"""Arguments of Lightning's trainer that we give, and by which of our keys."""

SWITCHES = (
    *("train", "compact", "channels_last", "compile", "checkpoint", "weights", "force"),
    *("sample.augment", "logger.masks"),
)
"""Values that are true or false."""


def sparsity(default: float, *, _parent_: DictConfig) -> float:
    """The fraction removed: from `exponent` if that was given, else `default`. Never fails: `check` judges."""
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
    what = [cfg.scorer.name, f"x{cfg.exponent:.2f}", f"s{cfg.seed}"]
    for key, default in TOLD.items():
        value = OmegaConf.select(cfg, key)
        if value != default:
            what.append(_told(key.removesuffix(".name").rpartition(".")[2], value))
    return f"{cfg.dataset.name}/{cfg.architecture.name}/{'-'.join(what)}-{identity[:8]}"


def _told(key: str, value: object) -> str:
    """A word speaks for itself; anything else needs its key."""
    if isinstance(value, bool):
        return key if value else f"no_{key}"
    return value if isinstance(value, str) else f"{key}{value}"


def identity(cfg: DictConfig) -> str:
    """SHA-256 of the resolved configuration without the keys that only say where the run happens.

    Sparsity and exponent are one number: its rounding must not depend on which of the two was given.
    """
    plain = resolved(cfg)
    for group, keys in PLACES_WITHIN.items():
        plain[group] = {key: value for key, value in plain[group].items() if key not in keys}
    del plain["exponent"]
    plain["sparsity"] = f"{1 - plain['sparsity']:.9g}"
    return hashlib.sha256(json.dumps(plain, sort_keys=True, default=str).encode()).hexdigest()


def preset() -> str | None:
    """The name of the experiment that was chosen, if any."""
    return HydraConfig.get().runtime.choices.get("experiment") if HydraConfig.initialized() else None


def resolved(cfg: DictConfig) -> dict[str, Any]:
    """What defines a result, as plain values."""
    return {
        str(key): OmegaConf.to_container(value, resolve=True, throw_on_missing=True)
        if OmegaConf.is_config(value)
        else value
        for key, value in cfg.items()
        if key not in PLACE
    }


def check(cfg: DictConfig) -> None:
    """Refuse values that cannot work, before anything is written.

    Raises:
        InputError: naming the key, the value and what is allowed.
    """
    _check_sparsity(cfg)
    _check_words(cfg)
    if cfg.iterations is not None:
        whole("iterations", cfg.iterations, least=1)
    for key, allowed in CHOICES.items():
        value = OmegaConf.select(cfg, key)
        if value not in allowed:
            raise InputError(key, value, one_of(value, filter(None, allowed)))
    scorer_mode = cfg.scorer.get("mode", "eval")
    if scorer_mode not in ("train", "eval"):
        raise InputError("scorer.mode", scorer_mode, one_of(scorer_mode, ("train", "eval")))
    if cfg.lifecycle.name == "lottery_ticket":
        _check_lottery_ticket(cfg)
    if cfg.export == "onnx" and not (find_spec("onnxruntime") and find_spec("onnxscript")):
        raise InputError("export", "onnx", "needs: pip install 'prune_init[onnx]'")
    if cfg.compile is True and not which(os.environ.get("CXX", "g++")):
        raise InputError("compile", True, "needs a C++ compiler: g++, or the one that CXX names")
    _check_trainer(cfg)
    if cfg.target == "effective" and cfg.ablation.name != "none":
        raise InputError("ablation", cfg.ablation.name, "works with target=nominal only")
    whole("seed", cfg.seed, least=0, most=2**32 - 1)
    whole("validation", cfg.validation, least=0)
    whole("recipe.epochs", cfg.recipe.epochs, least=1)
    whole("recipe.batch_size", cfg.recipe.batch_size, least=1)
    clip = cfg.recipe.gradient_clip
    if clip is not None and (isinstance(clip, bool) or not isinstance(clip, (int, float)) or not 0 < clip < math.inf):
        raise InputError("recipe.gradient_clip", clip, "allowed: a norm above 0, or null for none")
    whole("sample.per_class", cfg.sample.per_class, least=int("examples_per_class" in cfg.scorer))
    whole("sample.batch_size", cfg.sample.batch_size, least=1)
    for key in SWITCHES:
        value = OmegaConf.select(cfg, key, default=False)
        if not isinstance(value, bool) and (key, value) != ("weights", None):
            raise InputError(key, value, "allowed: true, false")


def _check_words(cfg: DictConfig) -> None:
    if not isinstance(cfg.results, str) or not cfg.results:
        raise InputError("results", cfg.results, "allowed: a folder")
    for group in ("dataset", "architecture", "scorer"):
        name = cfg[group].name
        if not isinstance(name, str) or not all(part.strip(".") for part in name.split("/")):
            raise InputError(f"{group}.name", name, "allowed: text that can name a folder below results")
    for key in ("include", "exclude"):
        patterns = cfg[key] if OmegaConf.is_list(cfg[key]) else [cfg[key] or ""]
        if not all(isinstance(pattern, str) for pattern in patterns):
            raise InputError(key, cfg[key], "allowed: patterns of weight names, or null")


def _check_sparsity(cfg: DictConfig) -> None:
    if not OmegaConf.is_interpolation(cfg, "exponent"):
        given = cfg.exponent
        if isinstance(given, bool) or not isinstance(given, (int, float)) or not 0 <= given < math.inf:
            raise InputError("exponent", given, "allowed: 0 and larger, log10 of the compression ratio")
    value = cfg.sparsity
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1:
        raise InputError("sparsity", value, "allowed: 0 <= sparsity < 1, the fraction of weights to remove")
    if not math.isclose(cfg.exponent, -math.log10(1 - value), abs_tol=1e-6):
        raise InputError("exponent", cfg.exponent, f"disagrees with sparsity={value}; give one of the two")


def _check_trainer(cfg: DictConfig) -> None:
    """Of Lightning's arguments those that others here set, and those that Lightning takes without looking."""
    for key, by in OURS.items():
        if key in cfg.trainer:
            raise InputError(f"trainer.{key}", cfg.trainer[key], f"is set by {by}")
    if cfg.trainer.gradient_clip_val != cfg.recipe.gradient_clip:
        raise InputError("trainer.gradient_clip_val", cfg.trainer.gradient_clip_val, "is set by recipe.gradient_clip")
    for key, allowed in {"deterministic": (False, True, "warn"), "benchmark": (False, True, None)}.items():
        if not any(cfg.trainer[key] is choice or cfg.trainer[key] == choice == "warn" for choice in allowed):
            words = ", ".join("null" if choice is None else str(choice).lower() for choice in allowed)
            raise InputError(f"trainer.{key}", cfg.trainer[key], f"allowed: {words}")
    _check_devices(cfg.trainer.devices)
    whole("trainer.check_val_every_n_epoch", cfg.trainer.get("check_val_every_n_epoch", 1), least=1)
    whole("trainer.accumulate_grad_batches", cfg.trainer.get("accumulate_grad_batches", 1), least=1)


def _check_devices(devices: Any) -> None:
    """Their form; how many there are is seen where they are."""
    listed = devices.split(",") if isinstance(devices, str) else devices if OmegaConf.is_list(devices) else ["?"]
    count = isinstance(devices, int) and not isinstance(devices, bool) and (devices >= 1 or devices == -1)
    if not (count or devices == "auto" or (len(listed) > 0 and all(str(one).isdecimal() for one in listed))):
        raise InputError(
            "trainer.devices", devices, "allowed: whole numbers from 1, -1 or auto for all, a list of devices"
        )


def _check_lottery_ticket(cfg: DictConfig) -> None:
    whole("lifecycle.levels", cfg.lifecycle.levels, least=1)
    whole("lifecycle.rewind_epoch", cfg.lifecycle.rewind_epoch, least=0)
    if cfg.lifecycle.rewind_epoch >= cfg.recipe.epochs:
        raise InputError("lifecycle.rewind_epoch", cfg.lifecycle.rewind_epoch, "allowed: less than recipe.epochs")
    for key, allowed in {"target": "nominal", "ablation": "none", "train": True, "compact": False}.items():
        value = cfg[key].name if key == "ablation" else cfg[key]
        if value != allowed:
            raise InputError(key, value, f"lifecycle=lottery_ticket works with {key}={str(allowed).lower()} only")


def whole(key: str, value: Any, *, least: int, most: int | None = None) -> None:
    """Refuse what is no whole number, or lies outside."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least or (most is not None and value > most):
        raise InputError(key, value, f"allowed: whole numbers from {least}" + (f" to {most}" if most else ""))


OmegaConf.register_new_resolver("sparsity", sparsity, replace=True)
OmegaConf.register_new_resolver("exponent", exponent, replace=True)
OmegaConf.register_new_resolver("run_name", run_name, replace=True)
OmegaConf.register_new_resolver("preset", preset, replace=True)
OmegaConf.register_new_resolver("run_id", lambda *, _root_: identity(_root_)[:16], replace=True)
