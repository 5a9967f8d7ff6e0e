"""The files of conf/: what each choice of a group says when nothing else is given."""

from functools import cache
from importlib.resources import files
from typing import Any

from omegaconf import OmegaConf


@cache
def groups() -> dict[str, str | None]:
    """Every config group and its default choice."""
    lines = [entry for entry in _read("config")["defaults"] if isinstance(entry, dict)]
    return {group: choice for line in lines for group, choice in line.items() if " " not in group}


@cache
def content(name: str) -> dict[str, Any]:
    """What a file, such as `recipe/quick`, and those that it begins with say; empty if there is none of that name."""
    own = _read(name)
    for other in own.pop("defaults", []):
        if isinstance(other, str) and other != "_self_":
            own = {**content(f"{name.rpartition('/')[0]}/{other}"), **own}
    return own


def _read(name: str) -> dict[str, Any]:
    path = files("prune_init.conf").joinpath(f"{name}.yaml")
    plain: Any = OmegaConf.to_container(OmegaConf.create(path.read_text())) if path.is_file() else {}
    return dict(plain)
