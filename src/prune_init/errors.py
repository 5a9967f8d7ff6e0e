"""Errors a user can mend: one line that names the key, the value and what is allowed."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches


class InputError(ValueError):
    """Input that cannot be used, described as `key=value: what is wrong and what is allowed`."""

    def __init__(self, key: str, value: object, allowed: str) -> None:
        super().__init__(f"{key}={value}: {allowed}")


class MissingDataError(InputError):
    """A data set's files are not where they were looked for."""


def first_line(error: BaseException) -> str:
    """What an error says, cut to one line; its kind, where it says nothing."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


@contextmanager
def fits(model: object, key: str, value: object, hint: Callable[[str], str] = lambda error: "") -> Iterator[None]:
    """Inside a model is run: what it raises on an input that it cannot take is told as a mistake of `key`.

    `hint` may add to the first line of what it raised.
    """
    try:
        yield
    except (InputError, NotImplementedError):  # said already; or an operation's fault rather than the input's
        raise
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
        why = first_line(error)
        raise InputError(key, value, f"{type(model).__name__} cannot be run on it: {why}{hint(why)}") from error


def one_of(value: object, choices: Iterable[str]) -> str:
    """What to say of a name that is none of `choices`: the nearest one first, then all of them."""
    names = sorted(choices)
    near = get_close_matches(str(value), names, n=1, cutoff=0.5)
    return (f"did you mean {near[0]}? " if near else "") + "allowed: " + (", ".join(names) or "nothing")
