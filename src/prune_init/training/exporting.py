"""The trained net for other programs, beside the run's result."""

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
    """Tries, on the pruned net, to export it before it is trained; `write` does so afterwards.

    Args:
        kind: pt2 or onnx.
        input_shape: of one example, without batch.
    """

    def __init__(self, kind: str, input_shape: Sequence[int]) -> None:
        self.kind, self._shape = kind, input_shape

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Refuse what cannot be exported.

        Raises:
            InputError: it cannot.
        """
        assert isinstance(pl_module, PruneThenTrain)
        with TemporaryDirectory() as folder:
            try:
                self._save(copy.deepcopy(pl_module.net), Path(folder))
            except Exception as error:  # of many kinds
                raise InputError("export", self.kind, f"the network cannot be exported ({_why(error)})") from error

    def write(self, module: PruneThenTrain, folder: Path) -> ExportedNet:
        """Write `net.pt2` or `net.onnx` into the folder, and say how far its outputs are from those of the net.

        A failure is a warning: what was trained is not lost for it.
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
        quiet = redirect_stdout(StringIO()), redirect_stderr(StringIO())  # torch prints the program that it gave up
        with whole(folder / f"net.{self.kind}") as path, quiet[0], quiet[1]:
            return FORMATS[self.kind](net.cpu(), example, path)


def _why(error: Exception) -> str:
    """What torch.onnx says itself is how one goes on; what was wrong is its cause."""
    return first_line(error.__cause__ or error if isinstance(error, OnnxExporterError) else error)
