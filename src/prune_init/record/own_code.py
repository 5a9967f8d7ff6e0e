"""Checksums of the code of users' own classes: a run's identity has only their names, and the code may change."""

import hashlib
import sys
import sysconfig
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import prune_init
from prune_init.record import results

INSTALLED = [
    *(Path(sysconfig.get_path(scheme)).resolve() for scheme in ("stdlib", "purelib", "platlib")),
    Path(prune_init.__file__).resolve().parent,
]
"""Folders of code that has a version."""


def checksums(config: Any) -> dict[str, str]:
    """SHA-256 of each file of the user's own that a `_target_` in the configuration names, by module name."""
    found = {module: _checksum(module) for module in set(map(_module, _targets(config)))}
    return {module: checksum for module, checksum in sorted(found.items()) if checksum}


def changed(folders: Collection[Path]) -> Iterator[str]:
    """Yield a line for each module that finished runs in `folders` used in another state than its present one."""
    used: dict[str, list[str]] = {}
    for record in map(results.read, folders):
        for module, checksum in ((record and record.code) or {}).items():
            used.setdefault(module, []).append(checksum)
    for module, checksums in used.items():
        other = sum(checksum != _checksum(module) for checksum in checksums)
        if other:
            runs = "1 finished run" if other == 1 else f"{other:,} finished runs"
            yield f"the code of {module} has changed since {runs}; force=true repeats them with the present code"


def _targets(config: Any) -> Iterator[str]:
    if isinstance(config, Mapping):
        for key, value in config.items():
            if key == "_target_" and isinstance(value, str):
                yield value
            yield from _targets(value)


def _module(target: str) -> str:
    """The module of a class or function: the longest part of its dotted name that is one."""
    parts = target.split(".")
    names = (".".join(parts[:length]) for length in range(len(parts) - 1, 0, -1))
    return next((name for name in names if name in sys.modules or _file(name)), parts[0])


def _file(module: str) -> Path | None:
    origin = getattr(sys.modules.get(module), "__file__", None)
    with suppress(ImportError, ValueError, AttributeError):  # no such module, or a class in place of a package
        spec = None if origin else find_spec(module)
        origin = spec.origin if spec else origin
    return Path(origin).resolve() if origin else None


def _checksum(module: str) -> str | None:
    """The checksum of a module's file; None if it is installed, built in or missing."""
    file = _file(module)
    if file is None or not file.is_file() or any(map(file.is_relative_to, INSTALLED)):
        return None
    return hashlib.sha256(file.read_bytes()).hexdigest()
