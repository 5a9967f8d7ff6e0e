"""Which runs belong together: panels of one network and data set, and in each the series that differ in one thing.

Runs are averaged over seeds only. Any other difference of their configurations makes another series, named by it.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator

from prune_init.benchmark.variants import variants
from prune_init.report.palette import rank
from prune_init.report.runs import FinishedRun
from prune_init.report.series import Panel, Point, Series


def panels(runs: Iterable[FinishedRun]) -> list[Panel]:
    """Runs by data set and network, those with most runs first."""
    members: dict[tuple[str, str], list[FinishedRun]] = defaultdict(list)
    for run in runs:
        members[run.record.dataset, run.record.architecture].append(run)
    largest = sorted(members.items(), key=lambda item: (-len(item[1]), item[0]))
    return [Panel(*key, tuple(_series(inside))) for key, inside in largest]


def _series(runs: list[FinishedRun]) -> Iterator[Series]:
    by_scorer: dict[str, list[FinishedRun]] = defaultdict(list)
    for run in runs:
        by_scorer[run.record.scorer].append(run)
    for scorer, members in sorted(by_scorer.items(), key=lambda item: rank(item[0])):
        for order, (variant, places) in enumerate(variants([run.record for run in members])):
            at: dict[float, list[FinishedRun]] = defaultdict(list)
            for run in (members[place] for place in places):
                at[round(run.record.exponent, 4)].append(run)
            yield Series(scorer, variant, order, tuple(Point(x, tuple(at[x])) for x in sorted(at)))
