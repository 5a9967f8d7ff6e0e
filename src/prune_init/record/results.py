"""Writing and reading `result.json`, the record of a run: the file is complete or absent, and checked when read."""

import json
import os
import platform
import subprocess
from collections.abc import Collection, Iterator
from importlib.metadata import version
from pathlib import Path

from omegaconf import DictConfig
from pydantic import ValidationError

from prune_init.errors import InputError
from prune_init.files import write_json
from prune_init.record import later
from prune_init.record.run_record import RunRecord

SCHEMA = 1
PACKAGES = ("prune_init", "torch", "torchvision", "pytorch-lightning", "hydra-core")


def write(folder: Path, record: RunRecord) -> None:
    """Write the folder's result.json; the file appears only when it is complete."""
    write_json(folder / "result.json", {"schema": SCHEMA, **record.model_dump()})


def read(folder: Path, identity: str | None = None) -> RunRecord | None:
    """Read the folder's result, with the defaults of keys that it is too old to have; None if there is none yet.

    Raises:
        InputError: the file is damaged, has another schema, lacks a required field, or (if `identity` is given)
            belongs to another configuration.
    """
    path = folder / "result.json"
    try:
        row = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError("results", path, f"unreadable ({error}); move the file away to run again") from None
    if not isinstance(row, dict) or row.get("schema") != SCHEMA:
        raise InputError("results", path, f"is not of schema {SCHEMA}; choose another folder")
    try:
        record = RunRecord.model_validate({key: value for key, value in row.items() if key != "schema"})
    except ValidationError as error:
        raise InputError("results", path, f"is not a result of prune_init ({_first(error)})") from None
    if identity is not None and record.identity != identity:
        raise InputError("hydra.run.dir", folder, "holds a run of another configuration; choose another")
    return record.model_copy(update={"config": later.filled(record.config)})


def lacking(folders: Collection[Path], cfg: DictConfig) -> Iterator[InputError]:
    """Yield a line for each kind of file that `cfg` asks for and that runs finished in `folders` have not left."""
    for key, name in (("export", f"net.{cfg.export}"), ("weights", "weights.safetensors")):
        without = [folder for folder in folders if cfg[key] and not (folder / name).exists()]
        if without:
            have = "1 finished run has" if len(without) == 1 else f"{len(without):,} finished runs have"
            why = f"{have} no {name}; force=true, or another results=FOLDER, runs it again"
            yield InputError(key, str(cfg[key]).lower(), why)


def _first(error: ValidationError) -> str:
    """The first validation error, in one line."""
    wrong = error.errors(include_url=False)[0]
    where = ".".join(map(str, wrong["loc"]))
    return f"lacks {where}" if wrong["type"] == "missing" else f"{where} is {wrong['input']!r:.60}"


def versions() -> dict[str, str]:
    """The versions of Python and of the main packages."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def commit() -> str | None:
    """The git commit of the source tree, marked `+` if it has uncommitted changes; None outside a checkout."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        quiet = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
        return subprocess.run(
            ["git", *arguments], cwd=here, env=quiet, check=True, capture_output=True, text=True, timeout=10
        ).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", __file__)
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None
