"""SIGTERM in a SLURM job: the job is about to be killed, and requeued if that was a preemption."""

import os
import signal
import time
from types import FrameType, TracebackType

PATIENCE = 15 * 60
"""Seconds to wait for the kill: longer than any usual grace time."""


class Preemption:
    """Notices SIGTERM while the block runs and then does not let it end well.

    A job that ends by itself during the grace time is finished for SLURM: it would not be requeued, and its runs
    would stay undone. So whatever ends the block after a SIGTERM, an exception or a return, waits for the kill.
    """

    def __init__(self) -> None:
        self.given = False

    def __enter__(self) -> "Preemption":
        self._before = signal.signal(signal.SIGTERM, self._note)
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        if not self.given:  # not by print, which the signal may have interrupted
            os.write(1, b"SIGTERM: nothing more is started; waiting for SLURM to end or requeue this job\n")
        self.given = True

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.given:
            deadline = time.monotonic() + PATIENCE
            while time.monotonic() < deadline:  # in slices: a signal taken by another thread does not wake a sleep
                time.sleep(1)
            raise TimeoutError("told to terminate, but not killed")
        signal.signal(signal.SIGTERM, self._before)
