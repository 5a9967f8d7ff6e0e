"""Overrides inside a config group that is itself swept: `-m architecture=timm,torchvision architecture.model=resnet18`.

Hydra first composes the configuration of the sweep itself, with the default choice of each swept group, and applies
plain overrides to it. A key that the default choice lacks would be refused, although all swept choices have it.
Written as a sweep over one value, such an override is applied only in the jobs.
"""

import re
from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException

MULTIRUN = ("-m", "--multirun")
CHOSEN_BY = {"pair": ("dataset", "architecture", "recipe"), "method": ("scorer",)}
"""Groups whose choices also select the choices of other groups."""


def deferred(arguments: Sequence[str]) -> list[str]:
    """The arguments, -m first, with plain overrides inside swept groups written as sweeps over one value."""
    arguments = sorted(arguments, key=lambda argument: argument not in MULTIRUN)
    if not set(MULTIRUN) & set(arguments):
        return arguments
    parsed = {argument: _parsed(argument) for argument in arguments}
    swept = {o.key_or_group for o in parsed.values() if o is not None and o.is_sweep_override()}
    swept |= {group for chooser in swept for group in CHOSEN_BY.get(chooser, ())}
    return [re.sub("=(.*)", r"=choice(\1)", a, count=1) if _is_below(parsed[a], swept) else a for a in arguments]


def as_typed(argument: str) -> str:
    """The argument as the user typed it: undoes `deferred`."""
    return re.sub(r"=choice\(([^()]*)\)$", r"=\1", argument)


def _parsed(argument: str) -> Override | None:
    try:
        return OverridesParser.create().parse_override(argument)
    except HydraException:  # an option, or a mistake that Hydra reports
        return None


def _is_below(override: Override | None, groups: set[str]) -> bool:
    if override is None or override.type != OverrideType.CHANGE or override.is_sweep_override():
        return False
    group, dot, _ = override.key_or_group.partition(".")
    return bool(dot) and group in groups
