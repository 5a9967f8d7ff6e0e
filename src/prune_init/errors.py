"""Errors that the user can correct: one line that names the key, the value and what is allowed."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any


class InputError(ValueError):
    """Input that cannot be used, described as `key=value: what is wrong and what is allowed`."""

    def __init__(self, key: str, value: object, allowed: str) -> None:
        super().__init__(f"{key}={value}: {allowed}")

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled by its message, as a process that reads examples passes it on."""
        return _with_message, (type(self), str(self))


def _with_message(kind: type[InputError], message: str) -> InputError:
    return kind.__new__(kind, message)


class ModelError(InputError):
    """A model that cannot be used, described as `model=CLASS: why`."""

    def __init__(self, model: object, why: str) -> None:
        super().__init__("model", type(model).__name__, why)


class MissingDataError(InputError):
    """The files of a data set were not found."""


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or the name of its type if the message is empty."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


@contextmanager
def fits(model: object, key: str, value: object, hint: Callable[[str], str] = lambda error: "") -> Iterator[None]:
    """Turn errors of a model that is run inside this block, on an input it cannot take, into an InputError for `key`.

    `hint` is given the first line of the original error and returns text to add to it.
    """
    try:
        yield
    except (InputError, NotImplementedError):  # explained already, or the fault of an operation, not of the input
        raise
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
        why = first_line(error)
        raise InputError(key, value, f"{type(model).__name__} cannot be run on it: {why}{hint(why)}") from error


def one_of(value: object, choices: Iterable[str]) -> str:
    """The hint for a name that is not one of `choices`: the nearest one first, then all of them."""
    names = sorted(choices)
    near = get_close_matches(str(value), names, n=1, cutoff=0.5)
    return (f"did you mean {near[0]}? " if near else "") + "allowed: " + (", ".join(names) or "nothing")
