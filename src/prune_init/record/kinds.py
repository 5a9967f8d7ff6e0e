"""Keys that `schema` does not list: they must be known, and of the kind that the defaults of the same choices have."""

import math
from functools import cache
from importlib.resources import files
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from prune_init.errors import InputError, MissingKeyError, one_of
from prune_init.record.schema import SCHEMA

KINDS = {bool: "true, false", float: "a number", int: "a number", str: "text", list: "a list", dict: "keys below it"}
MAY_BE_NULL = ("recipe.scheduler", "callbacks")
JUDGED_ELSEWHERE = ("trainer",)
"""Lightning knows its own arguments."""

Known = dict[tuple[str, ...], dict[str, Any]]
"""Defaults of choices of config groups, kept from one job of a sweep to the next: composing takes most of the time."""


def check(config: DictConfig, loader: Any, known: Known) -> None:
    """Compare `config` with what the same choices of config groups say when nothing else is given.

    Nulls in the defaults stand for anything. Arguments of a `_target_` may be added; whether it takes them shows when
    it is called.

    Raises:
        InputError: naming the key, the value and what is allowed.
    """
    given = _plain(config, resolve=False)
    if missing := _missing(given):
        raise InputError(missing[0], "???", "has no default; must be given")
    choices = _choices(config, loader)
    if choices not in known:
        known[choices] = _defaults(config, loader, choices)
    _compare("", given, known[choices], str(given))


def _plain(config: DictConfig, *, resolve: bool) -> dict[str, Any]:
    """Everything but Hydra's own part, which names a folder by values that are still to be judged."""
    kept = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    kept._set_parent(config)  # interpolations may point outside the copy
    plain: dict[str, Any] = OmegaConf.to_container(kept, resolve=resolve)  # type: ignore[assignment]
    return plain


def _missing(plain: dict[str, Any], below: str = "") -> list[str]:
    """Keys without a value, by their whole names; OmegaConf's own search stops at values that refer to one."""
    found = []
    for key, value in plain.items():
        if isinstance(value, dict):
            found += _missing(value, f"{below}{key}.")
        elif value == "???":
            found.append(f"{below}{key}")
    return found


def typed(config: DictConfig, which: str) -> list[str]:
    """The overrides of the `task` or of `hydra` itself, as they were given: `x=${y}` is not resolved."""
    given: list[str] = OmegaConf.to_container(config.hydra.overrides[which])  # type: ignore[assignment]
    return given


def _choices(config: DictConfig, loader: Any) -> tuple[str, ...]:
    """The overrides that choose of a group, and say where there are more."""
    task = OverridesParser.create(config_loader=loader).parse_overrides(typed(config, "task"))
    for override in task:  # Hydra would make one of all of them
        several = isinstance(override.value(), list) and override.key_or_group != "callbacks"
        if several and loader.get_group_options(override.key_or_group):
            what = "allowed: one choice; a sweep tries several: -m GROUP=A,B"
            raise InputError(override.key_or_group, override.get_value_element_as_str(), what)
    places = [o for o in typed(config, "hydra") if o.lstrip("+").startswith("hydra.searchpath=")]
    groups = config.hydra.runtime.choices
    return *places, *(str(o.input_line) for o in task if o.get_key_element().lstrip("+~") in groups)


def _defaults(config: DictConfig, loader: Any, choices: tuple[str, ...]) -> dict[str, Any]:
    """The configuration with these choices and nothing else; keys that nothing reads, in files of a user, left out."""
    composed: DictConfig = loader.load_configuration(config.hydra.job.config_name, list(choices), RunMode.RUN)
    for key in _missing(_plain(composed, resolve=False)):  # what has no default is taken as given
        OmegaConf.update(composed, key, OmegaConf.select(config, key))
    plain, ours = _plain(composed, resolve=True), _shipped()
    for group, known in ours.items():
        there = plain.get(group)
        if isinstance(known, dict) and isinstance(there, dict) and group != "callbacks" and "_target_" not in there:
            if "_target_" in known:
                raise MissingKeyError(f"{group}._target_")
            plain[group] = {key: value for key, value in there.items() if key in known}
    return {key: value for key, value in plain.items() if key in ours}


@cache
def _shipped() -> dict[str, Any]:
    """The package's own conf/config.yaml, each group by its default choice."""

    def read(name: str) -> Any:
        return OmegaConf.to_container(OmegaConf.create(files("prune_init.conf").joinpath(f"{name}.yaml").read_text()))

    root = read("config")
    groups = {group: name for entry in root["defaults"] if isinstance(entry, dict) for group, name in entry.items()}
    return root | {group: read(f"{group}/{name}") for group, name in groups.items() if name and " " not in group}


@cache
def _presets() -> frozenset[str]:
    """Groups without a choice of their own, whose files set values of others."""
    root = OmegaConf.create(files("prune_init.conf").joinpath("config.yaml").read_text())
    plain: Any = OmegaConf.to_container(root)
    lines = [entry for entry in plain["defaults"] if isinstance(entry, dict)]
    return frozenset(group for line in lines for group, name in line.items() if name is None)


def _compare(key: str, value: Any, default: Any, everything: str) -> None:
    if _refers(value):
        return  # judged where the value stands that it refers to
    if key in SCHEMA or key in JUDGED_ELSEWHERE or default is None or (value is None and key in MAY_BE_NULL):
        return
    kind = KINDS[type(default)]
    if KINDS.get(type(value)) != kind:
        raise InputError(key, value, f"allowed: {kind}")
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(key, value, "allowed: a finite number")
    if isinstance(value, dict):
        _compare_keys(f"{key}." if key else "", value, default, everything)
    elif isinstance(value, list) and default:
        each = KINDS[type(default[0])]
        if not all(_refers(one) or KINDS.get(type(one)) == each for one in value):
            raise InputError(key, value, f"allowed: a list, each element {each}")


def _refers(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("${")


def _compare_keys(below: str, given: dict[str, Any], default: dict[str, Any], everything: str) -> None:
    called, named = "_target_" in given or "_target_" in default, below == "callbacks."
    for name in ["_target_"] if called else () if named else default:
        if name not in given:
            raise MissingKeyError(below + name)
    for name in sorted(given.keys() - default.keys()):
        if named and not (isinstance(given[name], dict) and isinstance(given[name].get("_target_"), str)):
            raise InputError(below + name, given[name], "allowed: keys below it, of which one is _target_")
        read = any(f"${{{below}{name}{end}" in everything for end in "}.")  # by other values
        if not (called or named or read):
            preset = not below and isinstance(given[name], dict) and name in _presets()
            first = "the first line of its file must be: # @package _global_"
            raise InputError(below + name, given[name], first if preset else f"unknown key; {one_of(name, default)}")
    if given.get("_target_") == default.get("_target_"):
        for name in given.keys() & default.keys():
            _compare(below + name, given[name], default[name], everything)
