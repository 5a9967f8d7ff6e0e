"""Handling of Ctrl-C and SIGTERM: an interrupted run looks neither like a success nor like a bug."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from types import FrameType

HANDLED = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
"""Signals that are handled, with their default handlers; a signal that has another handler is left alone."""


class Stopped(SystemExit):
    """A signal ended the run; the exit code is 128 + its number, the convention of shells: 130 or 143."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.code = 128 + number


def _stop(number: int, _: FrameType | None) -> None:
    raise Stopped(number)


@contextmanager
def stoppable() -> Iterator[None]:
    """Make SIGINT and SIGTERM raise `Stopped` inside the block.

    Lightning alone would end with exit code 1 on SIGINT, and with 0, like a success, on SIGTERM. Handlers that are set
    already, such as those of a cluster's launcher, are left alone. Outside of the main thread this does nothing.
    """
    may = current_thread() is main_thread()
    ours = [number for number, default in HANDLED.items() if may and signal.getsignal(number) == default]
    before = {number: signal.signal(number, _stop) for number in ours}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
