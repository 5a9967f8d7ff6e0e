"""One bar for scoring iterations and one for training: rich in a terminal, quiet lines in a log."""

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from prune_init.pruning.scored_net import Batch


class ProgressBars(pl.Callback):
    """Bars over iterations and over training steps; without a terminal, one line per tenth of the work."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = Progress(
            TextColumn("{task.description:<8}"),
            BarColumn(bar_width=32),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            TextColumn("{task.fields[note]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._scoring: TaskID | None = None
        self._training: TaskID | None = None

    def scoring(self, iteration: int, iterations: int) -> None:
        """Advance the scoring bar: the `progress` of `prune_init.prune`."""
        if self._scoring is None:
            self._bars.start()
            self._scoring = self._bars.add_task("scoring", total=iterations, note="")
        self._bars.update(self._scoring, completed=iteration)
        self._line(f"scoring {iteration}/{iterations}", iteration, iterations)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin the training bar, at the epoch where a resumed run goes on."""
        steps = int(trainer.num_training_batches)
        self._bars.start()
        self._training = self._bars.add_task(
            "training", total=steps * (trainer.max_epochs or 0), completed=steps * trainer.current_epoch, note=""
        )

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Advance the training bar."""
        if self._training is not None:
            self._bars.advance(self._training)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Say how the epoch went."""
        note = _epoch_note(trainer.callback_metrics)
        epoch, epochs = trainer.current_epoch + 1, trainer.max_epochs or 0
        if self._training is not None:
            self._bars.update(self._training, note=f"epoch {epoch}: {note}")
        self._line(f"epoch {epoch}/{epochs}  {note}", epoch, epochs)

    def stop(self) -> None:
        """Leave the bars as they are and give the terminal back."""
        self._bars.stop()

    def _line(self, text: str, done: int, of: int) -> None:
        if not self._console.is_terminal and (done == of or done * 10 // of > (done - 1) * 10 // of):
            self._console.print(text)


def _epoch_note(metrics: Mapping[str, Any]) -> str:
    return f"loss {float(metrics['train/loss']):.3f}, test top-1 {100 * float(metrics['test/top1']):.2f} %"
