"""Checks of keys that `schema` does not list: they must be known, with values of the same kind as in the YAML files."""

import math
from typing import Any

from omegaconf import DictConfig, OmegaConf

from prune_init.errors import InputError, one_of
from prune_init.explain import dotted, refused
from prune_init.record import shipped
from prune_init.record.keys import refers
from prune_init.record.schema import SCHEMA

KINDS = {bool: "true, false", float: "a number", int: "a number", str: "text", list: "a list", dict: "keys below it"}


def check(config: DictConfig) -> None:
    """Compare `config` with the YAML files of the choices that it is composed of.

    A null in a file allows any value. Arguments of a `_target_` may be added; whether it accepts them shows when it is
    called. Without a `_target_`, a user's own choice must have the keys of the default choice: no others are read.

    Raises:
        InputError: naming the key, the value and what is allowed.
    """
    given: Any = OmegaConf.to_container(config)
    runtime, usual = given.pop("hydra")["runtime"], dict(shipped.content("config"))
    del usual["hydra"]
    lacking = next((key for key, value in dotted(given) if value == "???"), None)
    if lacking is not None:  # OmegaConf's own search stops at interpolations of such a key
        raise InputError(lacking, "???", "has no default; must be given")
    folders = [source["path"] for source in runtime["config_sources"] if source["schema"] == "file"]
    for group, default in shipped.groups().items():
        absent = group not in runtime["choices"] and (group in given or default is None)
        if absent and group != "callbacks":  # it is a list of choices, which Hydra would merge into one
            raise refused(group, "[...]", "allowed: one choice; a sweep tries several: -m GROUP=A,B")
        if default is not None:
            known = shipped.content(f"{group}/{default}")
            usual[group] = shipped.content(f"{group}/{runtime['choices'].get(group)}", *folders)
            if "_target_" in known:
                usual[group] = {"_target_": None, **usual[group]}
            elif group != "callbacks":
                usual[group] = {key: value for key, value in usual[group].items() if key in known}
    _compare("", given, usual, str(given))


def _compare(key: str, value: Any, usual: Any, everything: str) -> None:
    if isinstance(value, float) and not math.isfinite(value) and key not in SCHEMA:
        raise InputError(key, value, "allowed: a finite number")
    known = usual not in (None, "???") and not refers(usual) and key not in SCHEMA and key != "trainer"  # Lightning's
    if not known or refers(value) or (value is None and key == "recipe.scheduler"):
        return
    kind = KINDS[type(usual)]
    if KINDS.get(type(value)) != kind:
        raise InputError(key, value, f"allowed: {kind}")
    if isinstance(value, dict):
        _compare_keys(f"{key}." if key else "", value, usual, everything)
    elif isinstance(value, list) and usual:
        each = KINDS[type(usual[0])]
        if not all(refers(one) or KINDS.get(type(one)) == each for one in value):
            raise InputError(key, value, f"allowed: a list, each element {each}")


def _compare_keys(below: str, given: dict[str, Any], usual: dict[str, Any], everything: str) -> None:
    called, named = "_target_" in given or "_target_" in usual, below == "callbacks."
    for name in ["_target_"] if called else () if named else usual:
        if name not in given:
            raise InputError(below + name, "???", "is missing; must be given")
    for name in sorted(given.keys() - usual.keys()):
        if named and not (isinstance(given[name], dict) and "_target_" in given[name]):
            raise InputError(below + name, given[name], "allowed: keys below it, of which one is _target_")
        read = any(f"${{{below}{name}{end}" in everything for end in "}.")  # used by interpolations
        if not (called or named or read):
            why = f"unknown key; {one_of(name, usual)}"
            if below + name in shipped.groups():
                why = "the first line of its file must be: # @package _global_"
            raise InputError(below + name, given[name], why)
    if given.get("_target_") == usual.get("_target_"):
        for name in usual:
            if name in given:
                _compare(below + name, given[name], usual[name], everything)
