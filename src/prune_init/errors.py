"""Errors a user can mend: one line that names the key, the value and what is allowed."""

from collections.abc import Iterable
from difflib import get_close_matches


class InputError(ValueError):
    """Input that cannot be used, described as `key=value: what is wrong and what is allowed`."""

    def __init__(self, key: str, value: object, allowed: str) -> None:
        super().__init__(f"{key}={value}: {allowed}")


class MissingDataError(InputError):
    """A data set's files are not where they were looked for."""


def one_of(value: object, choices: Iterable[str]) -> str:
    """What to say of a name that is none of `choices`: the nearest one first, then all of them."""
    names = sorted(choices)
    near = get_close_matches(str(value), names, n=1, cutoff=0.5)
    return (f"did you mean {near[0]}? " if near else "") + "allowed: " + (", ".join(names) or "nothing")
