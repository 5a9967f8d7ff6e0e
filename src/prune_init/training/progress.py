"""Progress of scoring and training: two bars in a terminal, a few plain lines in a log."""

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Column

from prune_init.pruning.sample import Batch


class ProgressBars(pl.Callback):
    """Bars of iterations and training steps; without a terminal, a line per tenth of the iterations and per epoch."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = console.is_interactive and console.file.isatty()  # FORCE_COLOR makes any file interactive
        self._bars = Progress(
            TextColumn("{task.description:<8}"),
            BarColumn(bar_width=32),  # only the bar shrinks in a narrow terminal
            MofNCompleteColumn(table_column=Column(no_wrap=True)),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True, table_column=Column(no_wrap=True)),
            TextColumn("{task.fields[note]}"),
            console=console,
            disable=not self._live,
        )
        self._scoring: TaskID | None = None
        self._training: TaskID | None = None
        self._tested = False

    def scoring(self, iteration: int, iterations: int) -> None:
        """Advance the scoring bar; passed to `prune_init.prune` as `progress`."""
        if self._scoring is None:
            self._bars.start()
            self._scoring = self._bars.add_task("scoring", total=iterations, note="")
        self._bars.update(self._scoring, completed=iteration)
        if not self._live and iteration * 10 // iterations > (iteration - 1) * 10 // iterations:
            self._console.print(f"scoring {iteration}/{iterations}")

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the training bar, for a resumed run at the epoch where it continues."""
        if trainer.current_epoch:
            self._console.print(f"resuming after epoch {trainer.current_epoch}")
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

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note that the epoch has a test result."""
        self._tested = True

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show the loss and test accuracy of the epoch."""
        note = _epoch_note(trainer.callback_metrics, tested=self._tested)
        self._tested = False
        epoch = trainer.current_epoch + 1
        if self._training is not None:
            self._bars.update(self._training, note=f"epoch {epoch}: {note}")
        if not self._live:
            self._console.print(f"epoch {epoch}/{trainer.max_epochs}  {note}", soft_wrap=True)

    def stop(self) -> None:
        """Stop the bars, which stay visible, and release the terminal."""
        self._bars.stop()


def _epoch_note(metrics: Mapping[str, Any], *, tested: bool) -> str:
    loss = f"loss {float(metrics['train/loss']):.3f}"
    return f"{loss}, test top-1 {100 * float(metrics['test/top1']):.2f} %" if tested else f"{loss}, not tested"
