"""Read back the files of finished runs."""

import csv
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file


def finished(folder: Path) -> tuple[Path, dict[str, Any]]:
    """The folder of the only finished run below `folder`, and its result.json."""
    (path,) = folder.rglob("result.json")
    return path.parent, json.loads(path.read_text())


def metrics(folder: Path) -> list[dict[str, str]]:
    """The rows of the only metrics.csv below `folder`, without the column of seconds."""
    (path,) = folder.rglob("metrics.csv")
    with path.open() as file:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]


def assert_same(one: Path, other: Path, *names: str) -> None:
    """Check that the files of these names contain the same tensors in both folders, bit for bit."""
    for name in names:
        ours, theirs = (load_file(folder / f"{name}.safetensors") for folder in (one, other))
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(tensor, theirs[key]) for key, tensor in ours.items()), name
