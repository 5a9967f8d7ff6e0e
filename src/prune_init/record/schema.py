"""The schema of the configuration: allowed values of keys, and rules for several keys together.

Keys that are not listed must have values of the same kind as their defaults; `kinds` checks that.
"""

import math
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import Any

from omegaconf import DictConfig, OmegaConf

from prune_init.allowed import ITERATIONS, MODE, SCOPE, SEED, SPARSITY, SWITCH, Allowed, number, whole, word
from prune_init.errors import InputError
from prune_init.host import compiler, on_processor
from prune_init.record import given_masks


def _is_name(value: object) -> bool:
    return isinstance(value, str) and all(part.strip(".") for part in value.split("/"))


def _are_words(value: Any) -> bool:
    """Whether `value` is one string or a list of strings."""
    return isinstance(value, Sequence) and all(isinstance(one, str) for one in value)


def _are_devices(value: Any) -> bool:
    """Check only the form of `trainer.devices`; whether they exist can be seen only on the machine that has them."""
    listed = value.split(",") if isinstance(value, str) else value if OmegaConf.is_list(value) else ()
    number = isinstance(value, int) and not isinstance(value, bool) and (value == -1 or value >= 1)
    return number or value == "auto" or (len(listed) > 0 and all(str(one).isdecimal() for one in listed))


NAME = Allowed("text that can name a folder below results", _is_name)
FOLDER = Allowed("a folder", lambda value: isinstance(value, str) and bool(value))
PATTERNS = Allowed("patterns of weight names, or null", _are_words, null=True)

SCHEMA = {
    "masks": Allowed("a file of masks, or null", lambda value: isinstance(value, str) and bool(value), null=True),
    "exponent": number("0 to 15, log10 of the compression ratio", lambda value: 0 <= value <= 15),
    "sparsity": SPARSITY,
    "target": word("nominal", "effective"),
    "iterations": ITERATIONS.or_null(),
    "scope": SCOPE,
    "mode": MODE.or_null(),
    "include": PATTERNS,
    "exclude": PATTERNS,
    "scorer.iterations": ITERATIONS,
    "scorer.mode": MODE,
    "scorer.examples_per_class": whole(1),
    "sample.per_class": whole(0),
    "sample.batch_size": whole(1),
    "sample.augment": SWITCH,
    "validation": whole(0),
    "seed": SEED,
    "precision": word("64-true", "32-true", "16-true", "bf16-true", "16-mixed", "bf16-mixed"),
    **dict.fromkeys(("tf32", "channels_last", "compact", "train", "checkpoint", "force"), SWITCH),
    "compile": Allowed(
        "true, false, reduce-overhead, max-autotune",
        lambda value: isinstance(value, bool) or value in ("reduce-overhead", "max-autotune"),
    ),
    "results": FOLDER,
    "weights": SWITCH.or_null(),
    "export": word("pt2", "onnx").or_null(),
    "dataset.name": NAME,
    "dataset.root": FOLDER.or_null(),
    "architecture.name": NAME,
    "scorer.name": NAME,
    "schedule.counts": word("nearest", "published").or_null(),
    "lifecycle.levels": whole(1),
    "lifecycle.rewind_epoch": whole(0),
    "recipe.epochs": whole(1),
    "recipe.batch_size": whole(1),
    "recipe.drop_last": SWITCH,
    "recipe.gradient_clip": number("a norm above 0, or null for none", lambda value: value > 0).or_null(),
    "logger.mode": Allowed(
        "", {"online", "offline", "disabled", ""}.__contains__, True, ("online", "offline", "disabled")
    ),
    "logger.tags": Allowed("a list of words", lambda value: not isinstance(value, str) and _are_words(value)),
    "logger.project": Allowed("text", lambda value: isinstance(value, str)),
    "logger.masks": SWITCH,
    "trainer.accelerator": word("auto", "cpu", "cuda", "gpu", "mps", "tpu"),
    "trainer.devices": Allowed("whole numbers from 1, -1 or auto for all, a list of devices", _are_devices),
    "trainer.deterministic": Allowed("false, true, warn", lambda value: isinstance(value, bool) or value == "warn"),
    "trainer.benchmark": Allowed("false, true, null", lambda value: isinstance(value, bool), null=True),
    "trainer.check_val_every_n_epoch": whole(1),
    "trainer.accumulate_grad_batches": whole(1),
    "trainer.max_steps": Allowed("whole numbers from 1", lambda value: value == -1 or whole(1).fits(value)),
}
"""The allowed values of each key, checked if the configuration has the key."""

SET_BY = {
    "max_epochs": "recipe.epochs",
    "enable_checkpointing": "checkpoint",
    "logger": "logger",
    "callbacks": "callbacks",
    **dict.fromkeys(("plugins", "default_root_dir", "num_sanity_val_steps"), "the run itself"),
    **dict.fromkeys(("enable_progress_bar", "enable_model_summary"), "the run itself"),
}
"""Arguments of Lightning's Trainer that the run passes itself, and the key of ours that sets each."""

NOT_FOR_RUNS = {
    "fast_dev_run": "would record a few steps as a whole run; to try a run use recipe.epochs=1",
    "overfit_batches": "does not hold with the run's own batches; use trainer.limit_train_batches",
    "barebones": "leaves out the metrics that a run records",
}
"""Arguments of Lightning's Trainer that would make a run's result wrong, and why."""


def check(cfg: DictConfig) -> None:
    """Refuse values that cannot work, before anything is written.

    Raises:
        InputError: naming the key, the value and what is allowed.
    """
    for key, allowed in SCHEMA.items():
        value = OmegaConf.select(cfg, key, default=...)
        if value is not ... and not (key == "exponent" and OmegaConf.is_interpolation(cfg, key)):  # from sparsity
            allowed.check(key, value)
        if key == "masks" and value:
            given_masks.facts(value)  # raises for a bad file before its sparsity is read
    for key, value, why in _together(cfg):
        raise InputError(key, str(value).lower() if isinstance(value, bool) else value, why)


def _together(cfg: DictConfig) -> Iterator[tuple[str, Any, str]]:
    """Check rules for several keys; for each broken rule, yield the key and value to name, and the reason."""
    trainer, recipe, lottery = cfg.trainer, cfg.recipe, cfg.lifecycle.name == "lottery_ticket"
    given = [key for key in ("sparsity", "exponent") if not OmegaConf.is_interpolation(cfg, key)]
    if cfg.masks and given:
        yield given[0], cfg[given[0]], given_masks.alone(cfg.masks)
    if len(given) == 2 and not math.isclose(cfg.exponent, -math.log10(1 - cfg.sparsity), abs_tol=1e-6):
        yield "exponent", cfg.exponent, f"disagrees with sparsity={cfg.sparsity}; give one of the two"

    values = {key: cfg[key] for key in ("target", "train", "compact")}
    values |= {"ablation": cfg.ablation.name, "lifecycle": cfg.lifecycle.name}
    values["callbacks"] = ",".join(cfg.callbacks or {}) or "none"
    alone = {"target": "nominal", "ablation": "none"}
    for chosen, by, only in (
        (cfg.masks, f"masks={cfg.masks}", alone | {"lifecycle": "prune_then_train"}),
        (lottery, "lifecycle=lottery_ticket", alone | {"train": True, "compact": False, "callbacks": "none"}),
        (cfg.target == "effective", "target=effective", {"ablation": "none"}),
    ):
        for key, value in only.items() if chosen else ():
            if values[key] != value:
                yield key, values[key], f"{by} works with {key}={str(value).lower()} only"

    if lottery and cfg.lifecycle.rewind_epoch >= recipe.epochs:
        yield "lifecycle.rewind_epoch", cfg.lifecycle.rewind_epoch, "allowed: less than recipe.epochs"
    for key in ("max_steps", "max_time"):  # these would end the run before it has pruned
        if lottery and trainer.get(key, -1) not in (-1, None, False):
            yield f"trainer.{key}", trainer[key], "lifecycle=lottery_ticket trains all its levels"
    if "examples_per_class" in cfg.scorer and cfg.sample.per_class < 1:
        yield "sample.per_class", cfg.sample.per_class, "allowed with this scorer: whole numbers from 1"
    if cfg.export == "onnx" and not (find_spec("onnxruntime") and find_spec("onnxscript")):
        yield "export", cfg.export, "needs: pip install 'prune_init[onnx]'"
    if cfg.compile and not compiler() and on_processor(trainer):
        yield "compile", cfg.compile, "needs a C++ compiler without a GPU: g++, or the one that CXX names"

    for key in SET_BY.keys() & trainer.keys():
        yield f"trainer.{key}", trainer[key], f"is set by {SET_BY[key]}"
    for key in NOT_FOR_RUNS.keys() & trainer.keys():
        if trainer[key]:
            yield f"trainer.{key}", trainer[key], NOT_FOR_RUNS[key]
    if trainer.gradient_clip_val != recipe.gradient_clip:
        yield "trainer.gradient_clip_val", trainer.gradient_clip_val, "is set by recipe.gradient_clip"
    if not trainer.get("limit_train_batches", 1):
        yield "trainer.limit_train_batches", 0, "allowed: above 0; to train nothing use train=false"
