"""last.ckpt, from which an interrupted run is resumed: written atomically and checked to belong to the run."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.io import TorchCheckpointIO
from pytorch_lightning.callbacks import ModelCheckpoint

from prune_init.errors import InputError
from prune_init.files import whole


class WholeCheckpoints(TorchCheckpointIO):
    """Writes checkpoints to a temporary file in the same folder and renames it.

    Lightning itself writes to the system's temporary folder and moves the file. Between two disks that is a copy, which
    stays incomplete if the process is killed; then the run could not be resumed.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Save at `path`."""
        with whole(Path(path)) as partial:
            torch.save(checkpoint, partial)


class BeforeTheEnd(ModelCheckpoint):
    """Saves checkpoints after all epochs but the last one.

    A run resumed from the last epoch would have nothing to train, and callbacks would not do what they do at the end of
    training, such as replacing the weights by an average.
    """

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save a checkpoint if training goes on."""
        if not ends_here(trainer):
            super().on_train_epoch_end(trainer, pl_module)


def ends_here(trainer: pl.Trainer) -> bool:
    """Whether the epoch that is ending is the last one, as far as is known."""
    last_epoch = trainer.current_epoch + 1 >= (trainer.max_epochs or 0)
    return last_epoch or trainer.should_stop or 0 <= trainer.max_steps <= trainer.global_step


class Resumable(pl.Callback):
    """Saves the identity of the run and the states of the random generators in checkpoints.

    After an interruption, dropout and the like continue with the random numbers that they would have drawn. Each
    process has its own states, for the CPU and for the device on which it trains.

    The finished epoch is not ended again: if training is limited by steps, Lightning takes every checkpoint for one
    from inside an epoch, so it does not see the limit until training starts.

    Args:
        identity: the identity of the run's configuration.
        code: checksums of the code of users' own classes, by module; see `record/own_code.py`.
    """

    def __init__(self, identity: str, code: Mapping[str, str] | None = None) -> None:
        self._identity, self._code = identity, dict(code or {})
        self._saved: list[dict[str, Any]] | None = None
        self._max_steps: int | None = None

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the states of all processes; the first process writes the checkpoint."""
        states: list[Any] = [_random_state(trainer.strategy.root_device)]
        if trainer.world_size > 1:
            states *= trainer.world_size
            torch.distributed.all_gather_object(states, states[trainer.global_rank])
        checkpoint |= {"identity": self._identity, "code": self._code, "random_states": states}

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keep the states until training begins, since random numbers may be drawn before, and the limit of steps."""
        for module, checksum in checkpoint.get("code", {}).items():
            if checksum != self._code.get(module):
                now = "the run goes on with the present code; force=true starts it again"
                warnings.warn(f"the code of {module} has changed since last.ckpt was written: {now}", stacklevel=2)
        self._saved = checkpoint.get("random_states")
        if checkpoint["global_step"] < trainer.max_steps:
            self._max_steps, trainer.fit_loop.epoch_loop.max_steps = trainer.max_steps, -1

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Restore the states; with other devices, or another number of them, the random streams start anew."""
        if self._max_steps is not None:
            trainer.fit_loop.epoch_loop.max_steps, self._max_steps = self._max_steps, None
        if self._saved is None:
            return
        device, before, now = trainer.strategy.root_device, len(self._saved), trainer.world_size
        kinds = {state["kind"] for state in self._saved}
        if before != now or kinds != {device.type}:
            saved_on, now_on = f"{before} x {', '.join(sorted(kinds))}", f"{now} x {device.type}"
            why = f"last.ckpt was written on {saved_on}; on {now_on}"
            warnings.warn(f"{why} random numbers, such as those of dropout, will differ", stacklevel=2)
            return
        state = self._saved[trainer.global_rank]
        torch.set_rng_state(state["cpu"].cpu())
        if device.type != "cpu":
            torch.get_device_module(device).set_rng_state(state["device"].cpu(), *_which(device))


def _random_state(device: torch.device) -> dict[str, Any]:
    state: dict[str, Any] = {"kind": device.type, "cpu": torch.get_rng_state()}
    if device.type != "cpu":  # asking for it would initialise an unused device
        state["device"] = torch.get_device_module(device).get_rng_state(*_which(device))
    return state


def _which(device: torch.device) -> list[torch.device]:
    return [] if device.type == "mps" else [device]  # there is only one MPS device


def last_checkpoint(folder: Path, identity: str) -> Path | None:
    """The path of the folder's last.ckpt, once checked; None if there is none.

    torch.load does not notice flipped bits, so the checksums in the archive are compared first. The content is then
    loaded without running code from it (`weights_only`). A file that is refused is left as it is.

    Raises:
        InputError: the file is damaged, or a run of another configuration wrote it.
    """
    path = folder / "last.ckpt"
    if not path.exists():
        return None
    try:
        with ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise BadZipFile(f"wrong checksum of {damaged}")
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can make its readers fail in any way
        reason = " ".join(str(error).split())[:200]
        raise InputError("checkpoint", path, f"is damaged ({reason}); move it away to start again") from None
    if not isinstance(checkpoint, dict) or checkpoint.get("identity") != identity:
        raise InputError(
            "hydra.run.dir", folder, "its last.ckpt belongs to another configuration; choose another folder"
        )
    return path
