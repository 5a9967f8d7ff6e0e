"""The plan of a sweep, written beside its runs, so that missing runs can be found."""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from prune_init.errors import InputError
from prune_init.files import whole
from prune_init.launching.plan import Planned

SCHEMA = 1
FOLDER = ".sweeps"


class Sweep(NamedTuple):
    """The plan of one sweep, as read from its file."""

    title: str
    runs: list[Planned]


def write(results: Path, planned: Sequence[Planned], title: str) -> Path:
    """Write the plan below the folder `results`; the same sweep typed again writes the same file.

    The first line has the schema and the title, each further line one run. Sweeps may share runs.
    """
    top = results.absolute()
    runs = [
        {"folder": os.path.relpath(r.folder, top), "identity": r.identity, "overrides": r.overrides} for r in planned
    ]
    everything = hashlib.sha256("".join(sorted(f"{r['folder']}{r['identity']}" for r in runs)).encode()).hexdigest()
    path = results / FOLDER / f"{everything[:8]}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as partial, partial.open("w") as file:
        for line in ({"schema": SCHEMA, "title": title}, *runs):
            file.write(json.dumps(line) + "\n")
    return path


def read(results: Path) -> list[Sweep]:
    """Read all plans below the folder `results`, also in folders inside it, oldest first.

    Raises:
        InputError: a file there is not a plan of this schema.
    """
    sweeps = []
    for path in sorted(results.rglob(f"{FOLDER}/*.jsonl"), key=lambda path: path.stat().st_mtime):
        try:
            head, *lines = (json.loads(line) for line in path.read_text().splitlines())
            if head["schema"] != SCHEMA:
                raise ValueError(f"is of schema {head['schema']}, not {SCHEMA}")
            top = path.parent.parent
            runs = [Planned(top / run["folder"], run["identity"], tuple(run["overrides"])) for run in lines]
            sweeps.append(Sweep(head["title"], runs))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError("results", path, f"is not the plan of a sweep ({error}); move it away") from None
    return sweeps
