"""What the check finds: a JSON object a line, written as it is found."""

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
        folder: where the file is.
        stage: begins every row.
    """

    def __init__(self, folder: Path, stage: str) -> None:
        self.folder = folder
        self._stage = stage

    def say(self, *, passes: bool | None = None, **row: Any) -> None:
        """Write a row, also to the terminal; `passes` where there is something to pass or to fail."""
        verdict = {} if passes is None else {"passes": passes}
        line = {"stage": self._stage, **row, **verdict}
        with (self.folder / RESULTS).open("a") as file:
            file.write(json.dumps(line, default=str) + "\n")
        told = " ".join(f"{key}={shown(value)}" for key, value in row.items())
        print(self._stage, told, {True: "ok", False: "FAILED", None: ""}[passes], flush=True)

    @contextmanager
    def attempt(self, **row: Any) -> Iterator[None]:
        """What is raised inside is one row more, a failed one; the stage goes on."""
        try:
            yield
        except Exception as error:
            traceback.print_exc()
            self.say(**row, error=f"{type(error).__name__}: {str(error)[:300]}", passes=False)


def shown(value: Any) -> str:
    """A value, short."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def rows(folder: Path) -> list[dict[str, Any]]:
    """Everything that was found so far."""
    path = folder / RESULTS
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
