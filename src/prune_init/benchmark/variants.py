"""Group the runs of a scorer into variants: runs are averaged only if they differ in nothing but the seed."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from prune_init.benchmark.finished_run import FinishedRun
from prune_init.record.keys import differing, label, leaves

AVERAGED = ("seed", "sparsity", "exponent", "lifecycle.sparsity")
"""Configuration keys in which the runs of one variant may differ."""


class Variant(NamedTuple):
    """Runs of one scorer on one network that differ only in seed and compression, by exponent."""

    scorer: str
    name: str  # empty if the scorer has no other variant, or nothing to name this one by
    order: int  # position among the scorer's variants
    runs: dict[float, list[FinishedRun]]


def variants(runs: Iterable[FinishedRun]) -> Iterator[Variant]:
    """Yield one network's variants: by scorer, alphabetically, those with most runs and shortest names first."""
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
    """A name from at most three of the keys in which variants differ, in the words used in folder names."""
    told = {key: settings.get(key) for key in said}
    return ", ".join([label(key, value) for key, value in told.items() if value not in (None, "none")][:3])
