"""Build objects from choices of the configuration, without importing Lightning."""

import os
from typing import TYPE_CHECKING, Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from prune_init.errors import InputError
from prune_init.explain import refusal, refused
from prune_init.host import on_processor

if TYPE_CHECKING:
    from prune_init.data.dataset import Dataset


def build(choice: DictConfig, *, labels: tuple[str, ...] = ("name",), **more: Any) -> Any:
    """Build the object that a config group's choice describes; `labels` are keys that are not arguments.

    Raises:
        InputError: the target does not exist or refuses the arguments.
    """
    try:
        return instantiate({key: value for key, value in choice.items_ex(resolve=True) if key not in labels}, **more)
    except InstantiationException as error:
        if isinstance(cause := error.__cause__, InputError):
            raise cause from cause.__cause__
        if (why := refusal(error)) is None:
            raise
        name = choice.get("name", choice.get("_target_"))
        raise refused(str(choice._get_full_key(None)), name, why) from error


def schedule(choice: DictConfig) -> Any:
    """The schedule as a function from the final density to densities; `prune` turns these into counts."""
    return build(choice, labels=("name", "counts"))


def dataset(cfg: DictConfig) -> "Dataset":
    """The data set with its validation split."""
    made: Dataset = build(cfg.dataset)
    return made.split(cfg.validation, seed=cfg.seed)


def check_devices(cfg: DictConfig) -> None:
    """Refuse what cannot be had without a GPU: more devices than cores, as each is then a process, and float16.

    Raises:
        InputError: naming the number of devices, or the precision.
    """
    if not on_processor(trainer := cfg.trainer):
        return
    cores = os.cpu_count() or 1
    if isinstance(trainer.devices, int) and trainer.devices > cores:
        raise refused("trainer", f"{trainer.devices} devices", f"allowed without a GPU: 1 to {cores} processes")
    if cfg.precision == "16-mixed":
        raise InputError("precision", cfg.precision, "Lightning has none on a CPU; allowed there: bf16-mixed")


def chosen(cfg: DictConfig) -> dict[str, Any]:
    """`include` and `exclude`, which say which weights to prune, as plain values."""
    return {
        key: OmegaConf.to_object(cfg[key]) if OmegaConf.is_config(cfg[key]) else cfg[key]
        for key in ("include", "exclude")
    }
