"""What the values of a configuration may be, and which of them go together; their kinds are judged in `kinds`."""

import math
from importlib.util import find_spec
from typing import Any

from omegaconf import DictConfig, OmegaConf

from prune_init.errors import InputError, check_whole, one_of
from prune_init.host import compiler, on_processor
from prune_init.record import given_masks

CHOICES = {
    "scope": ("global", "layer"),
    "schedule.counts": ("nearest", "published", None),
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
    "callbacks": "callbacks",
    **dict.fromkeys(("plugins", "default_root_dir", "num_sanity_val_steps"), "the run itself"),
    **dict.fromkeys(("enable_progress_bar", "enable_model_summary"), "the run itself"),
}
"""Arguments of Lightning's trainer that we give, and by which of our keys."""

SWITCHES = (
    *("train", "compact", "channels_last", "compile", "tf32", "checkpoint", "weights", "force"),
    *("sample.augment", "logger.masks", "recipe.drop_last"),
)
"""Values that are true or false."""


def check(cfg: DictConfig) -> None:
    """Refuse values that cannot work, before anything is written.

    Raises:
        InputError: naming the key, the value and what is allowed.
    """
    _check_masks(cfg)
    _check_sparsity(cfg)
    _check_words(cfg)
    _check_callbacks(cfg)
    if cfg.iterations is not None:
        check_whole("iterations", cfg.iterations, least=1)
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
    if cfg.compile is True and not compiler() and on_processor(cfg.trainer):
        raise InputError("compile", True, "needs a C++ compiler without a GPU: g++, or the one that CXX names")
    _check_trainer(cfg)
    if cfg.target == "effective" and cfg.ablation.name != "none":
        raise InputError("ablation", cfg.ablation.name, "works with target=nominal only")
    check_whole("seed", cfg.seed, least=0, most=2**32 - 1)
    check_whole("validation", cfg.validation, least=0)
    check_whole("recipe.epochs", cfg.recipe.epochs, least=1)
    check_whole("recipe.batch_size", cfg.recipe.batch_size, least=1)
    clip = cfg.recipe.gradient_clip
    if clip is not None and (isinstance(clip, bool) or not isinstance(clip, (int, float)) or not 0 < clip < math.inf):
        raise InputError("recipe.gradient_clip", clip, "allowed: a norm above 0, or null for none")
    check_whole("sample.per_class", cfg.sample.per_class, least=int("examples_per_class" in cfg.scorer))
    check_whole("sample.batch_size", cfg.sample.batch_size, least=1)
    for key in SWITCHES:
        value = OmegaConf.select(cfg, key, default=False)
        if not isinstance(value, bool) and (key, value) != ("weights", None):
            raise InputError(key, value, "allowed: true, false")


def _check_masks(cfg: DictConfig) -> None:
    """That they can be read, and that no preset says as well what is pruned."""
    if cfg.masks is None:
        return
    if not isinstance(cfg.masks, str) or not cfg.masks:
        raise InputError("masks", cfg.masks, "allowed: a file of masks, or null")
    given_masks.facts(cfg.masks)
    for key in ("sparsity", "exponent"):
        if not OmegaConf.is_interpolation(cfg, key):
            raise InputError(key, cfg[key], f"does not go with masks={cfg.masks}, which say what is pruned; give one")
    for key, allowed in {"target": "nominal", "ablation": "none", "lifecycle": "prune_then_train"}.items():
        value = cfg[key] if key == "target" else cfg[key].name
        if value != allowed:
            raise InputError(key, value, f"masks={cfg.masks} works with {key}={allowed} only")


def _check_callbacks(cfg: DictConfig) -> None:
    """What can be told of callbacks without making them."""
    if cfg.callbacks and cfg.lifecycle.name == "lottery_ticket":
        raise InputError(
            "callbacks", ",".join(cfg.callbacks), "lifecycle=lottery_ticket works with callbacks=none only"
        )
    stages = ("train", "test", *(("validation",) if cfg.validation else ()))
    metrics = [f"{stage}/{name}" for stage in stages for name in ("loss", "top1", "top5")]
    for name, callback in (cfg.callbacks or {}).items():
        if str(callback.get("_target_")).endswith(".EarlyStopping") and callback.get("monitor") not in metrics:
            monitor = str(callback.get("monitor"))
            held_back = monitor.startswith("validation/") and not cfg.validation
            why = "needs validation=N, images that are held back" if held_back else one_of(monitor, metrics)
            raise InputError(f"callbacks.{name}.monitor", monitor, why)


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
    check_whole("trainer.check_val_every_n_epoch", cfg.trainer.get("check_val_every_n_epoch", 1), least=1)
    check_whole("trainer.accumulate_grad_batches", cfg.trainer.get("accumulate_grad_batches", 1), least=1)
    if cfg.trainer.get("max_steps", -1) != -1:  # Lightning's word for no limit
        check_whole("trainer.max_steps", cfg.trainer.max_steps, least=1)
    if not cfg.trainer.get("limit_train_batches", 1):
        raise InputError("trainer.limit_train_batches", 0, "allowed: larger; train=false trains nothing")


def _check_devices(devices: Any) -> None:
    """Their form; how many there are is seen where they are."""
    listed = devices.split(",") if isinstance(devices, str) else devices if OmegaConf.is_list(devices) else ["?"]
    count = isinstance(devices, int) and not isinstance(devices, bool) and (devices >= 1 or devices == -1)
    if not (count or devices == "auto" or (len(listed) > 0 and all(str(one).isdecimal() for one in listed))):
        raise InputError(
            "trainer.devices", devices, "allowed: whole numbers from 1, -1 or auto for all, a list of devices"
        )


def _check_lottery_ticket(cfg: DictConfig) -> None:
    check_whole("lifecycle.levels", cfg.lifecycle.levels, least=1)
    check_whole("lifecycle.rewind_epoch", cfg.lifecycle.rewind_epoch, least=0)
    if cfg.lifecycle.rewind_epoch >= cfg.recipe.epochs:
        raise InputError("lifecycle.rewind_epoch", cfg.lifecycle.rewind_epoch, "allowed: less than recipe.epochs")
    for key in ("max_steps", "max_time", "fast_dev_run"):  # which would end it before it has pruned
        if cfg.trainer.get(key, -1) not in (-1, None, False):
            raise InputError(f"trainer.{key}", cfg.trainer[key], "lifecycle=lottery_ticket trains all its levels")
    for key, allowed in {"target": "nominal", "ablation": "none", "train": True, "compact": False}.items():
        value = cfg[key].name if key == "ablation" else cfg[key]
        if value != allowed:
            raise InputError(
                key, str(value).lower(), f"lifecycle=lottery_ticket works with {key}={str(allowed).lower()} only"
            )
