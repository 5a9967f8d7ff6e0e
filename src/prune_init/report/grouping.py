"""Group runs into panels of one network and data set, and each panel's runs into series.

Runs are averaged over seeds only. Any other difference of configuration makes another series, named after it.
"""

from collections.abc import Iterable

from prune_init.benchmark.finished_run import FinishedRun
from prune_init.benchmark.variants import networks, variants
from prune_init.report.palette import rank
from prune_init.report.series import Panel, Point, Series


def panels(runs: Iterable[FinishedRun]) -> list[Panel]:
    """The panels of `runs`, those with most runs first."""
    largest = sorted(networks(runs).items(), key=lambda item: (-len(item[1]), item[0]))
    return [Panel(*key, _series(inside)) for key, inside in largest]


def _series(runs: list[FinishedRun]) -> tuple[Series, ...]:
    found = sorted(variants(runs), key=lambda variant: rank(variant.scorer))
    points = [tuple(Point(x, *group) for x, group in variant.groups.items()) for variant in found]
    return tuple(Series(*variant[:3], inside) for variant, inside in zip(found, points, strict=True))
