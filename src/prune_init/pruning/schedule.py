"""Schedules: the density of the net after each pruning iteration.

A schedule maps the final density s and the number of iterations T to a list of T densities, one for the end of each
iteration; the last is exactly s. Any function of this form can be passed in place of a name.
"""

import math
from collections.abc import Callable, Sequence
from numbers import Real

from prune_init.errors import InputError, one_of

Schedule = Callable[[float, int], list[float]]

COUNTS = ("nearest", "published")
"""The ways to round a density to a number of weights; see `kept`."""


def exponential(density: float, iterations: int) -> list[float]:
    """s^(t/T): each iteration prunes the same fraction of the remaining weights (Tanaka et al. 2020, algorithm 1)."""
    return [density ** (t / iterations) for t in range(1, iterations)] + [density]


def linear(density: float, iterations: int) -> list[float]:
    """1 - (1 - s) t/T: each iteration prunes the same number of weights."""
    return [1 - (1 - density) * t / iterations for t in range(1, iterations)] + [density]


def halving(density: float, iterations: int) -> list[float]:
    """1/2, 1/4, ... but never below s, and s after the last iteration (SNIP-it, Verdenius et al. 2020)."""
    return [max(0.5**t, density) for t in range(1, iterations)] + [density]


def kept(counts: str, density: float, total: int) -> int:
    """The number of weights kept, out of `total`, at this density.

    `nearest` rounds density * total. `published` is total - floor((1 - density) total), which rounds up, because
    ganguli-lab/Synaptic-Flow prunes int((1 - density) total) weights. The difference matters in iterative pruning,
    where a single weight more or less changes all later scores.

    Raises:
        InputError: `counts` is not one of `COUNTS`.
    """
    if counts not in COUNTS:
        raise InputError("counts", counts, one_of(counts, COUNTS))
    return round(density * total) if counts == "nearest" else total - int((1 - density) * total)


def densities(schedule: str | Schedule, density: float, iterations: int) -> list[float]:
    """The densities after each iteration, from a schedule given by name or as a function.

    Raises:
        InputError: an unknown name, or a function that fails or does not return one density per iteration, ending
            with `density`.
    """
    find = named(schedule) if isinstance(schedule, str) else schedule
    name = getattr(schedule, "__name__", schedule)
    try:
        found = find(density, iterations) if callable(find) else None
    except (TypeError, ValueError, ArithmeticError) as error:
        raise InputError(
            "schedule", name, f"fails for density {density:g}, {iterations} iterations ({error})"
        ) from error
    if not (
        isinstance(found, Sequence)
        and len(found) == iterations
        and all(isinstance(d, Real) and 0 <= d <= 1 for d in found)
        and math.isclose(found[-1], density)
    ):
        raise InputError("schedule", name, f"must give {iterations} densities from 0 to 1, the last one {density:g}")
    return list(found)


def named(name: str) -> Schedule:
    """The schedule of this name."""
    schedules: dict[str, Schedule] = {"exponential": exponential, "linear": linear, "halving": halving}
    if name not in schedules:
        raise InputError("schedule", name, one_of(name, schedules))
    return schedules[name]
