"""One choice of the configuration as an object; needs no Lightning."""

from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from prune_init.errors import InputError
from prune_init.explain import refusal, refused


def build(choice: DictConfig, **more: Any) -> Any:
    """The object that a config group's choice describes; its `name` is a label, not an argument.

    Raises:
        InputError: the target is not there or refuses the arguments.
    """
    try:
        return instantiate({key: value for key, value in choice.items_ex(resolve=True) if key != "name"}, **more)
    except InstantiationException as error:
        why = refusal(error)
        if why is None or isinstance(error.__cause__, InputError):
            raise
        raise refused(str(choice._get_full_key(None)), choice.name, why) from error


def chosen(cfg: DictConfig) -> dict[str, Any]:
    """Which weights to prune, as plain values."""
    return {
        key: OmegaConf.to_object(cfg[key]) if OmegaConf.is_config(cfg[key]) else cfg[key]
        for key in ("include", "exclude")
    }
