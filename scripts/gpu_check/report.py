"""The results of the check: one JSON object per line, written as soon as it is found."""

import json
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

RESULTS = "results.jsonl"


class Report:
    """Appends the rows of one stage to the file that all stages share.

    Args:
        folder: the folder of the file.
        stage: name of the stage, the first entry of every row.
    """

    def __init__(self, folder: Path, stage: str) -> None:
        self.folder = folder
        self._stage = stage

    def say(self, *, passes: bool | None = None, **row: Any) -> None:
        """Write a row to the file and the terminal; `passes` is given if the row is a check that can fail."""
        verdict = {} if passes is None else {"passes": passes}
        line = {"stage": self._stage, **row, **verdict}
        with (self.folder / RESULTS).open("a") as file:
            file.write(json.dumps(line, default=str) + "\n")
        told = " ".join(f"{key}={shown(value)}" for key, value in row.items())
        print(self._stage, told, {True: "ok", False: "FAILED", None: ""}[passes], flush=True)

    @contextmanager
    def attempt(self, **row: Any) -> Iterator[None]:
        """Report an exception inside the block as a failed row, and go on with the stage."""
        try:
            yield
        except Exception as error:
            traceback.print_exc()
            self.say(**row, error=f"{type(error).__name__}: {str(error)[:300]}", passes=False)


def shown(value: Any) -> str:
    """A value as short text."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def rows(folder: Path) -> list[dict[str, Any]]:
    """All rows that have been written so far."""
    path = folder / RESULTS
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
