"""Checkpoints that are there only when they are whole."""

from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io import TorchCheckpointIO

from prune_init.files import whole


class WholeCheckpoints(TorchCheckpointIO):
    """Writes beside the checkpoint and renames.

    Lightning itself writes to the system's temporary folder and moves: between two disks that is a copy, which a
    kill can leave half done, and then the run could not be resumed.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Save at `path`."""
        with whole(Path(path)) as partial:
            torch.save(checkpoint, partial)
