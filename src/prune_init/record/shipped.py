"""The YAML files of conf/: the values of each choice of a group before any override."""

from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf


@cache
def groups() -> dict[str, str | None]:
    """All config groups with their default choices."""
    lines = [entry for entry in _read("config")["defaults"] if isinstance(entry, dict)]
    return {group: choice for line in lines for group, choice in line.items() if " " not in group}


@cache
def content(name: str, *folders: str) -> dict[str, Any]:
    """The content of a YAML file, such as `recipe/quick`, and of the files in its defaults list; empty without a file.

    Args:
        name: name of the file, with its group.
        folders: the user's config folders, searched if conf/ has no such file.
    """
    own = _read(name, *folders)
    for other in own.pop("defaults", []):
        if isinstance(other, str) and other != "_self_":
            own = {**content(f"{name.rpartition('/')[0]}/{other}", *folders), **own}
    return own


def _read(name: str, *folders: str) -> dict[str, Any]:
    paths = (folder.joinpath(f"{name}.yaml") for folder in (files("prune_init.conf"), *map(Path, folders)))
    path = next((path for path in paths if path.is_file()), None)
    plain: Any = {} if path is None else OmegaConf.to_container(OmegaConf.create(path.read_text()))
    return dict(plain)
