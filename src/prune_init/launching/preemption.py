"""Handle SIGTERM in a SLURM job: the job is about to be killed, and requeued if it was preempted."""

import os
import signal
import time
from types import FrameType, TracebackType

PATIENCE = 15 * 60
"""Seconds to wait to be killed: longer than any usual grace period."""


class Preemption:
    """Notices SIGTERM while the block runs, and then waits at its end to be killed.

    SLURM takes a job that ends by itself during the grace period for finished: it would not be requeued, and its runs
    would stay undone. So after a SIGTERM the end of the block, by exception or not, waits for the kill.
    """

    def __init__(self) -> None:
        self.given = False

    def __enter__(self) -> "Preemption":
        self._before = signal.signal(signal.SIGTERM, self._note)
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        if not self.given:  # not print: the signal may have interrupted a print
            os.write(1, b"SIGTERM: nothing more is started; waiting for SLURM to end or requeue this job\n")
        self.given = True

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.given:
            deadline = time.monotonic() + PATIENCE
            while time.monotonic() < deadline:  # in slices: a signal to another thread does not end a sleep
                time.sleep(1)
            raise TimeoutError("received SIGTERM, but was not killed")
        signal.signal(signal.SIGTERM, self._before)
