"""Which runs of one scorer are averaged: those that differ in the seed alone. Any other difference has its name."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from prune_init.benchmark.finished_run import FinishedRun
from prune_init.record.keys import differing, label, leaves

AVERAGED = ("seed", "sparsity", "exponent", "lifecycle.sparsity")
"""Keys of a configuration that do not make another variant."""


class Variant(NamedTuple):
    """Runs of one scorer on one network that differ in seed and compression alone, by exponent."""

    scorer: str
    name: str  # empty if there is no other
    order: int  # among the variants of the scorer
    runs: dict[float, list[FinishedRun]]


def variants(runs: Iterable[FinishedRun]) -> Iterator[Variant]:
    """Of one network: scorers in alphabetical order, of each the most frequent and plainest variant first."""
    by_scorer: dict[str, list[FinishedRun]] = defaultdict(list)
    for run in runs:
        by_scorer[run.record.scorer].append(run)
    for scorer, members in sorted(by_scorer.items()):
        for order, (name, same) in enumerate(_named(members)):
            at: dict[float, list[FinishedRun]] = defaultdict(list)
            for run in same:
                at[round(run.record.exponent, 4)].append(run)
            yield Variant(scorer, name, order, {exponent: at[exponent] for exponent in sorted(at)})


def _named(runs: Sequence[FinishedRun]) -> Iterator[tuple[str, list[FinishedRun]]]:
    flat = [{k: v for k, v in leaves(run.record.config).items() if k not in AVERAGED} for run in runs]
    said = differing(flat)
    groups: dict[tuple[str, tuple[tuple[str, str], ...]], list[FinishedRun]] = defaultdict(list)
    for run, settings in zip(runs, flat, strict=True):
        groups[_name(settings, said), tuple(sorted((key, repr(value)) for key, value in settings.items()))].append(run)
    ordered = sorted(groups.items(), key=lambda item: (-len(item[1]), len(item[0][0]), item[0][1]))
    taken, count = Counter(name for name, _ in groups), Counter[str]()
    for (name, _), same in ordered:
        count[name] += 1
        yield (f"{name} #{count[name]}".strip() if taken[name] > 1 else name), same


def _name(settings: Mapping[str, Any], said: Sequence[str]) -> str:
    """What is special about a variant, from at most three keys, in the words that folders are named by."""
    told = {key: settings.get(key) for key in said}
    return ", ".join([label(key, value) for key, value in told.items() if value not in (None, "none")][:3])
