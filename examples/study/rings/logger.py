"""A logger that writes one JSON object per line to a file in the run's folder."""

import json
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.utilities.rank_zero import rank_zero_only


class JsonLines(Logger):
    """Appends to `log.jsonl`; the run passes its folder as `save_dir`."""

    name, version = "jsonl", ""

    def __init__(self, save_dir: Path) -> None:
        super().__init__()
        self._path = Path(save_dir) / "log.jsonl"

    def log_hyperparams(self, params: Any, *_: Any, **__: Any) -> None:
        """Do nothing, since the configuration is in result.json."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Write one line."""
        with self._path.open("a") as file:
            print(json.dumps({"step": step, **metrics}), file=file)
