"""Values must be of the kind that the defaults of the same choices have, and keys must be known ones."""

import math
from collections.abc import Mapping
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from prune_init.errors import InputError, MissingKeyError, one_of

KINDS = {bool: "true, false", float: "a number", int: "a number", str: "text", list: "a list", dict: "keys below it"}
MAY_BE_NULL = ("recipe.scheduler",)
JUDGED_ELSEWHERE = ("trainer",)
"""Lightning knows its own arguments."""


Known = dict[tuple[str, ...], dict[str, Any]]
"""Defaults of choices of config groups, kept from one job of a sweep to the next: composing takes most of the time."""


def check(config: DictConfig, loader: Any, known: Known) -> None:
    """Compare `config` with what the same choices of config groups say when nothing else is given.

    Nulls in the defaults stand for anything. Arguments of a `_target_` may be added; whether it takes them shows when
    it is called. Single values at the root are left to `limits.check`, which says more about them.

    Raises:
        InputError: naming the key, the value and what is allowed.
    """
    given = _plain(config, resolve=False)
    if missing := _missing(given):
        raise InputError(missing[0], "???", "has no default; must be given")
    choices = _choices(config, loader)
    if choices not in known:
        known[choices] = _plain(_defaults(config, loader, choices), resolve=True)
    default = known[choices]
    if unknown := given.keys() - default.keys():
        key = min(unknown)
        raise InputError(key, given[key], f"unknown key; {one_of(key, default)}")
    for key in default:
        if key not in given:
            raise MissingKeyError(key)
    for key, value in given.items():
        if key == "callbacks":
            _compare_named(key, value or {}, default[key] or {})
        elif isinstance(default[key], dict) and key not in JUDGED_ELSEWHERE:
            _compare(key, value, default[key])


def _plain(config: DictConfig, *, resolve: bool) -> dict[str, Any]:
    plain = OmegaConf.to_container(_own(config), resolve=resolve)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def _own(config: DictConfig) -> DictConfig:
    """Everything but Hydra's own part, which names a folder by values that are still to be judged."""
    kept = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    kept._set_parent(config)  # interpolations may point outside the copy
    return kept


def _missing(plain: dict[str, Any], below: str = "") -> list[str]:
    """Keys without a value, by their whole names; OmegaConf's own search stops at values that refer to one."""
    found = []
    for key, value in plain.items():
        if isinstance(value, dict):
            found += _missing(value, f"{below}{key}.")
        elif value == "???":
            found.append(f"{below}{key}")
    return found


def _choices(config: DictConfig, loader: Any) -> tuple[str, ...]:
    """The overrides that choose of a group."""
    task = list(config.hydra.overrides.task)
    overrides = OverridesParser.create(config_loader=loader).parse_overrides(task)
    for override in overrides:  # Hydra would make one of all of them
        several = isinstance(override.value(), list) and override.key_or_group != "callbacks"
        if several and loader.get_group_options(override.key_or_group):
            what = "allowed: one choice; a sweep tries several: -m GROUP=A,B"
            raise InputError(override.key_or_group, override.get_value_element_as_str(), what)
    groups = config.hydra.runtime.choices
    return tuple(str(o.input_line) for o in overrides if o.get_key_element().lstrip("+~") in groups)


def _defaults(config: DictConfig, loader: Any, choices: tuple[str, ...]) -> DictConfig:
    """The configuration with these choices and nothing else."""
    composed: DictConfig = loader.load_configuration(config.hydra.job.config_name, list(choices), RunMode.RUN)
    for key in _missing(_plain(composed, resolve=False)):  # what has no default is taken as given
        OmegaConf.update(composed, key, OmegaConf.select(config, key))
    return composed


def _compare_named(group: str, given: Any, default: dict[str, Any]) -> None:
    """A group of as many objects as one likes, by names of one's own."""
    if not isinstance(given, Mapping):
        raise InputError(group, given, "allowed: names, and a _target_ below each")
    for name, value in given.items():
        if name in default:
            _compare(f"{group}.{name}", value, default[name])
        elif not (isinstance(value, Mapping) and isinstance(value.get("_target_"), str)):
            raise InputError(f"{group}.{name}", value, "allowed: keys below it, of which one is _target_")


def _compare(key: str, value: Any, default: Any) -> None:
    if isinstance(value, str) and value.startswith("${"):
        return  # judged where the value stands that it refers to
    if default is None or (value is None and key in MAY_BE_NULL):
        return
    kind = KINDS[type(default)]
    if value is None or KINDS[type(value)] != kind:
        raise InputError(key, value, f"allowed: {kind}")
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(key, value, "allowed: a finite number")
    if isinstance(value, Mapping):
        needed = ["_target_"] if "_target_" in default else default
        if gone := [name for name in needed if name not in value]:
            raise MissingKeyError(f"{key}.{gone[0]}")
        unknown = value.keys() - default.keys()
        if unknown and "_target_" not in value:
            name = min(unknown)
            raise InputError(f"{key}.{name}", value[name], f"unknown key; {one_of(name, default)}")
        if value.get("_target_") == default.get("_target_"):
            for name in value.keys() & default.keys():
                _compare(f"{key}.{name}", value[name], default[name])
    if isinstance(value, list) and default:
        for element in value:
            if KINDS.get(type(element)) != KINDS[type(default[0])]:
                raise InputError(key, value, f"allowed: a list, each element {KINDS[type(default[0])]}")
