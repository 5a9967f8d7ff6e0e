"""What a value may be, and the sentence that says so: for arguments of functions and the configuration alike."""

import math
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, NamedTuple

from prune_init.errors import InputError, one_of


class Allowed(NamedTuple):
    """Values that fit, and what is said of others; `null`: None fits as well."""

    sentence: str
    fits: Callable[[Any], bool]
    null: bool = False
    names: tuple[str, ...] = ()

    def or_null(self) -> "Allowed":
        """The same, or None."""
        return self._replace(null=True)

    def check(self, key: str, value: object) -> None:
        """Refuse what does not fit.

        Raises:
            InputError: naming key, value, and what is allowed.
        """
        if not (self.null if value is None else self.fits(value)):
            raise InputError(key, value, one_of(value, self.names) if self.names else f"allowed: {self.sentence}")


def whole(least: int, most: int | None = None) -> Allowed:
    """Whole numbers from `least`."""
    end = math.inf if most is None else most
    sentence = f"whole numbers from {least}" + ("" if most is None else f" to {most}")
    return Allowed(sentence, lambda value: _is(value, Integral) and least <= value <= end)


def number(sentence: str, fits: Callable[[float], bool]) -> Allowed:
    """Finite numbers that fit."""
    return Allowed(sentence, lambda value: _is(value, Real) and math.isfinite(value) and fits(value))


def word(*names: str) -> Allowed:
    """One of a few."""
    return Allowed(", ".join(names), lambda value: isinstance(value, str) and value in names, names=names)


def _is(value: object, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


SWITCH = Allowed("true, false", lambda value: isinstance(value, bool))
SPARSITY = number("0 <= sparsity < 1, the fraction of weights to remove", lambda value: 0 <= value < 1)
ITERATIONS = whole(1)
SCOPE = word("global", "layer")
MODE = word("train", "eval")
