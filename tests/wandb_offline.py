"""Read the file of an offline W&B run: W&B's own messages in the log format of LevelDB."""

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BLOCK, HEADER, START = 32768, 7, 7
WHOLE, FIRST, LAST = 1, 2, 4  # kinds of record fragments; 3 is a middle one


@dataclass
class OfflineRun:
    """One run as the client has recorded it."""

    folder: Path
    run: Any = None
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    artifacts: list[Any] = field(default_factory=list)
    exit_code: int | None = None

    def table(self, key: str) -> dict[str, Any]:
        """The `columns` and `data` of a logged table."""
        return json.loads((self.folder / "files" / self.summary[key]["path"]).read_text())


def load(folder: Path) -> OfflineRun:
    """Read an `offline-run-...` folder."""
    (path,) = folder.glob("*.wandb")
    found = OfflineRun(folder)
    for record in _records(path.read_bytes()):
        match record.WhichOneof("record_type"):
            case "run":
                found.run = record.run
                _update(found.config, record.run.config.update)
            case "config":
                _update(found.config, record.config.update)
            case "history":
                found.history.append({})
                _update(found.history[-1], record.history.item)
            case "summary":
                _update(found.summary, record.summary.update)
            case "artifact":
                found.artifacts.append(record.artifact)
            case "exit":
                found.exit_code = record.exit.exit_code
    return found


def _update(into: dict[str, Any], items: Any) -> None:
    for item in items:
        *outer, last = list(item.nested_key) or [item.key]
        place = into
        for key in outer:
            place = place.setdefault(key, {})
        place[last] = json.loads(item.value_json)


def _records(data: bytes) -> Iterator[Any]:
    from wandb.proto.wandb_internal_pb2 import Record

    position, parts = START, b""
    while position + HEADER <= len(data):
        left = BLOCK - position % BLOCK
        if left < HEADER:  # the padding at the end of a block
            position += left
            continue
        _, size, kind = struct.unpack("<IHB", data[position : position + HEADER])
        piece = data[position + HEADER : position + HEADER + size]
        parts = piece if kind in (WHOLE, FIRST) else parts + piece
        position += HEADER + size
        if kind in (WHOLE, LAST):
            record = Record()
            record.ParseFromString(parts)
            yield record
