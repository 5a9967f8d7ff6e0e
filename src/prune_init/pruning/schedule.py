"""How dense the net is after each pruning iteration.

A schedule maps the final density s and the number of iterations T to the T densities after each one; the last
is s exactly. Any function of this form can be given in place of a name.
"""

import math
from collections.abc import Callable, Sequence
from numbers import Real

from prune_init.errors import InputError, one_of

Schedule = Callable[[float, int], list[float]]

COUNTS = ("nearest", "published")
"""How a density becomes a number of weights."""


def exponential(density: float, iterations: int) -> list[float]:
    """s^(t/T): the same fraction of what is left is pruned each time (SynFlow, Tanaka et al. 2020, algorithm 1)."""
    return [density ** (t / iterations) for t in range(1, iterations)] + [density]


def linear(density: float, iterations: int) -> list[float]:
    """1 - (1 - s) t/T: the same number of weights is pruned each time."""
    return [1 - (1 - density) * t / iterations for t in range(1, iterations)] + [density]


def halving(density: float, iterations: int) -> list[float]:
    """1/2, 1/4, ... of the weights, but never fewer than s, and s at last (SNIP-it, Verdenius et al. 2020)."""
    return [max(0.5**t, density) for t in range(1, iterations)] + [density]


def kept(counts: str, density: float, total: int) -> int:
    """How many of `total` weights are kept at this density: the nearest number, or as published code has it.

    `published` is total - floor((1 - density) total), the density rounded up: ganguli-lab/Synaptic-Flow prunes
    int((1 - density) total) weights. From one iteration to the next a single weight more changes what follows.

    Raises:
        InputError: no such way to count.
    """
    if counts not in COUNTS:
        raise InputError("counts", counts, one_of(counts, COUNTS))
    return round(density * total) if counts == "nearest" else total - int((1 - density) * total)


def densities(schedule: str | Schedule, density: float, iterations: int) -> list[float]:
    """The densities after each of the iterations, by the name of a schedule or by a function.

    Raises:
        InputError: no such name, or a function that does not return as many densities, `density` last.
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
