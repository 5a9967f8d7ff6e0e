"""The argument parser of the subcommands: wrong arguments and files that cannot be written end in a one-line error."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from prune_init.allowed import Allowed
from prune_init.allowed import whole as at_least
from prune_init.errors import InputError, one_of
from prune_init.subcommands import called


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` whose errors are one line, without the usage and with the nearest valid name.

    Args:
        about: what the command does, shown with its layout unchanged.
    """

    def __init__(self, about: str | None) -> None:
        super().__init__(called(), description=about, formatter_class=argparse.RawTextHelpFormatter)

    def run(
        self, work: Callable[[argparse.Namespace], None], given: Sequence[str] | None = None, *, to: str = ""
    ) -> None:
        """Parse `given`, or the command line, and call `work` with the result.

        Args:
            to: the argument that says where files are written; the error names it where they cannot be written.
        """
        chosen = self.parse_intermixed_args(given)
        try:
            work(chosen)
        except InputError as error:
            sys.exit(str(error))
        except BrokenPipeError:  # as by `| head`, which has read enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains at its end
        except OSError as error:
            if not to:
                raise
            sys.exit(f"{error.filename or to}: cannot be written ({error.strerror}); choose another place by {to}")

    def error(self, message: str) -> NoReturn:
        """Exit with code 2 and one line."""
        self.exit(2, f"{refusal(self, message)}\n")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            name = "/".join(action.option_strings) or action.dest
            self.error(f"{name}={value}: {one_of(value, map(str, action.choices))}")


def refusal(parser: argparse.ArgumentParser, message: str) -> str:
    """The parser's error message; for an unknown argument, one with the nearest known name."""
    if not message.startswith("unrecognized arguments: "):
        return message
    unknown = message.split()[2]
    if "=" in unknown and not unknown.startswith("-"):
        return (
            f"{unknown}: is separated from the other KEY=VALUEs by an option; put options before or after all of them"
        )
    kind = "option" if unknown.startswith("-") else "argument"
    return f"{unknown}: unknown {kind}; {one_of(unknown, parser._option_string_actions)}"


def whole(allowed: Allowed | int) -> Callable[[str], int]:
    """The `type` of an argument: an allowed whole number, or one of at least `allowed`."""
    rule = allowed if isinstance(allowed, Allowed) else at_least(allowed)

    def read(text: str) -> int:
        if not text.lstrip("-").isdecimal() or not rule.fits(int(text)):
            raise argparse.ArgumentTypeError(f"{text}: allowed: {rule.sentence}")
        return int(text)

    return read
