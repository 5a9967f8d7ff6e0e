"""Which values are allowed, and the sentence that says so, for function arguments and the configuration alike."""

import math
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, NamedTuple

from prune_init.errors import InputError, one_of


class Allowed(NamedTuple):
    """A rule for values: a test and the sentence that describes it. `null`: None is allowed as well."""

    sentence: str
    fits: Callable[[Any], bool]
    null: bool = False
    names: tuple[str, ...] = ()

    def or_null(self) -> "Allowed":
        """The same rule, with None allowed as well."""
        return self._replace(null=True)

    def check(self, key: str, value: object) -> None:
        """Refuse a value that is not allowed.

        Raises:
            InputError: naming the key, the value and what is allowed.
        """
        if not (self.null if value is None else self.fits(value)):
            raise InputError(key, value, one_of(value, self.names) if self.names else f"allowed: {self.sentence}")


def whole(least: int, most: int | None = None) -> Allowed:
    """Whole numbers from `least` to `most`, both included; without `most` there is no upper end."""
    end = math.inf if most is None else most
    sentence = f"whole numbers from {least}" + ("" if most is None else f" to {most}")
    return Allowed(sentence, lambda value: _is(value, Integral) and least <= value <= end)


def number(sentence: str, fits: Callable[[float], bool]) -> Allowed:
    """Finite numbers for which `fits` is true."""
    return Allowed(sentence, lambda value: _is(value, Real) and math.isfinite(value) and fits(value))


def word(*names: str) -> Allowed:
    """One of the given names."""
    return Allowed(", ".join(names), lambda value: isinstance(value, str) and value in names, names=names)


def _is(value: object, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


SWITCH = Allowed("true, false", lambda value: isinstance(value, bool))
SEED = whole(0, 2**32 - 1)
SPARSITY = number("0 <= sparsity < 1, the fraction of weights to remove", lambda value: 0 <= value < 1)
ITERATIONS = whole(1)
SCOPE = word("global", "layer")
MODE = word("train", "eval")
