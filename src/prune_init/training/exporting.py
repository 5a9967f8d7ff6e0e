"""Export of the trained net to a file for other programs."""

import copy
import warnings
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

import pytorch_lightning as pl
from torch import nn
from torch.onnx import OnnxExporterError

from prune_init.compaction.export import save_onnx, save_program
from prune_init.errors import InputError, first_line
from prune_init.files import whole
from prune_init.record.run_record import ExportedNet
from prune_init.training.module import PruneThenTrain

FORMATS = {"pt2": save_program, "onnx": save_onnx}


class Export(pl.Callback):
    """Tries to export the pruned net before training; `write` exports the trained net.

    Args:
        kind: pt2 or onnx.
        input_shape: shape of one example, without the batch.
    """

    def __init__(self, kind: str, input_shape: Sequence[int]) -> None:
        self.kind, self._shape = kind, input_shape

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Refuse a network that cannot be exported.

        Raises:
            InputError: naming the reason.
        """
        assert isinstance(pl_module, PruneThenTrain)
        with TemporaryDirectory() as folder:
            try:
                self._save(copy.deepcopy(pl_module.net), Path(folder))
            except Exception as error:  # exporters raise many types
                raise InputError("export", self.kind, f"the network cannot be exported ({_why(error)})") from error

    def write(self, module: PruneThenTrain, folder: Path) -> ExportedNet:
        """Write `net.pt2` or `net.onnx` to the folder, and compare its outputs with those of the net.

        A failure is only a warning, so that the trained net is not lost.
        """
        try:
            difference = self._save(module.net, folder)
        except Exception as error:
            why = _why(error)
            warnings.warn(f"export={self.kind}: failed ({why}); weights.safetensors holds the net", stacklevel=2)
            return ExportedNet(file=None, difference=None, error=why)
        return ExportedNet(file=f"net.{self.kind}", difference=difference, error=None)

    def _save(self, net: nn.Module, folder: Path) -> float:
        example = next(net.parameters()).new_zeros(2, *self._shape, device="cpu")
        quiet = redirect_stdout(StringIO()), redirect_stderr(StringIO())  # on failure torch prints a whole program
        with whole(folder / f"net.{self.kind}") as path, quiet[0], quiet[1]:
            return FORMATS[self.kind](net.cpu(), example, path)


def _why(error: Exception) -> str:
    """Why an export failed: of torch.onnx's errors the cause, since their own text only says what to try next."""
    return first_line(error.__cause__ or error if isinstance(error, OnnxExporterError) else error)
