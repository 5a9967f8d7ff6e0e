"""Progress: bars in a terminal, plain lines in a log."""

import contextlib
import fcntl
import io
import os
import pty
import re
import struct
import termios
import threading
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rich.console import Console

from prune_init.training.progress import ProgressBars


def run(console: Console, *, first_epoch: int = 0) -> None:
    """Run 25 scoring iterations, then up to 3 epochs of 2 steps."""
    bars = ProgressBars(console)
    metrics = {"train/loss": torch.tensor(0.5), "test/top1": torch.tensor(0.875)}
    trainer: Any = SimpleNamespace(num_training_batches=2, max_epochs=3, callback_metrics=metrics)
    for iteration in range(1, 26):
        bars.scoring(iteration, 25)
    module: Any = None
    trainer.current_epoch = first_epoch
    bars.on_train_start(trainer, module)
    for epoch in range(first_epoch, 3):
        trainer.current_epoch = epoch
        for step in range(2):
            bars.on_train_batch_end(trainer, module, None, (torch.empty(0), torch.empty(0)), step)
        bars.on_validation_end(trainer, module)
        bars.on_train_epoch_end(trainer, module)
    bars.stop()


@pytest.mark.parametrize("color", ["", "1"])
def test_a_log_gets_lines(monkeypatch, color):
    monkeypatch.setenv("FORCE_COLOR", color)  # often exported, but does not make a terminal
    log = io.StringIO()
    run(Console(file=log, highlight=False))
    lines = log.getvalue().splitlines()
    assert lines[:2] == ["scoring 3/25", "scoring 5/25"] and lines[9] == "scoring 25/25"
    assert lines[10:] == [f"epoch {epoch}/3  loss 0.500, test top-1 87.50 %" for epoch in (1, 2, 3)]


def terminal_output(width: int, **options: Any) -> str:
    """The output of `run` in a terminal with this many columns, without colours."""
    outer, inner = pty.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    written = bytearray()

    def read() -> None:  # a terminal buffers little, and then the writer waits for a reader
        with contextlib.suppress(OSError):  # the other end is closed
            while True:
                written.extend(os.read(outer, 4096))

    reader = threading.Thread(target=read)
    reader.start()
    with os.fdopen(inner, "w") as file:
        run(Console(file=file, highlight=False, width=width, _environ={"TERM": "xterm-256color"}), **options)
    reader.join()
    os.close(outer)
    return re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", written.decode())


@pytest.mark.parametrize("width", [64, 80, 120])
def test_a_terminal_gets_bars_that_fit(width):
    *_, scoring, training, end = terminal_output(width).split("\r\n")
    assert re.fullmatch(r"scoring +━+ +25/25 +\d\d:\d\d *", scoring.rpartition("\r")[2])
    training = training.rpartition("\r")[2]
    assert re.fullmatch(r"training ━+ +6/6 +\d\d:\d\d epoch 3: loss 0.500, test top-1 87.50 % *", training)
    assert len(training) <= width and not end


def test_a_resumed_run_starts_where_it_goes_on():
    log = io.StringIO()
    run(Console(file=log), first_epoch=2)
    assert "\nresuming after epoch 2\nepoch 3/3 " in log.getvalue()
    assert "4/6" in terminal_output(100, first_epoch=2) and "1/6" not in terminal_output(100, first_epoch=2)
