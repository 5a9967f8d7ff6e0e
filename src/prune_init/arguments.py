"""Arguments of the small commands (`python -m prune_init.analysis.cost`, ...): what cannot be used ends in one line."""

import argparse
from collections.abc import Callable
from typing import Any, NoReturn

from prune_init.errors import one_of


class Parser(argparse.ArgumentParser):
    """argparse, whose errors come without the usage and with the nearest name."""

    def error(self, message: str) -> NoReturn:
        """Exit with code 2 and one line."""
        if message.startswith("unrecognized arguments: "):
            unknown = message.split()[2]
            message = f"{unknown}: unknown option; {one_of(unknown, self._option_string_actions)}"
        self.exit(2, f"{message}\n")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            name = "/".join(action.option_strings) or action.dest
            self.error(f"{name}={value}: {one_of(value, map(str, action.choices))}")


def whole(least: int) -> Callable[[str], int]:
    """The `type` of an argument: a whole number of at least `least`."""

    def read(text: str) -> int:
        if not text.lstrip("-").isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text}: allowed: whole numbers from {least}")
        return int(text)

    return read
