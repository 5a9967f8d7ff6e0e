"""Which runs belong together: panels of one network and data set, and in each the series that differ in one thing.

Runs are averaged over seeds only. Any other difference of their configurations makes another series, named by it.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from prune_init.record.settings import PLACES_WITHIN
from prune_init.report.palette import rank
from prune_init.report.runs import Run
from prune_init.report.series import Panel, Point, Series

AVERAGED = ("seed", "sparsity", "exponent")
"""Keys of a configuration that do not make another series."""


def panels(runs: Iterable[Run]) -> list[Panel]:
    """Runs by data set and network, those with most runs first."""
    members: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for run in runs:
        members[run.record.dataset, run.record.architecture].append(run)
    largest = sorted(members.items(), key=lambda item: (-len(item[1]), item[0]))
    return [Panel(*key, tuple(_series(inside))) for key, inside in largest]


def _series(runs: list[Run]) -> Iterator[Series]:
    by_scorer: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        by_scorer[run.record.scorer].append(run)
    for scorer, members in sorted(by_scorer.items(), key=lambda item: rank(item[0])):
        for order, (variant, same) in enumerate(_variants(members)):
            at: dict[float, list[Run]] = defaultdict(list)
            for run in same:
                at[round(run.record.exponent, 4)].append(run)
            yield Series(scorer, variant, order, tuple(Point(x, tuple(at[x])) for x in sorted(at)))


def _variants(runs: list[Run]) -> list[tuple[str, list[Run]]]:
    """Runs of one scorer by all that differs between them, the most frequent and plainest first, each with a name."""
    flat = [dict(_settings(run.record.config)) for run in runs]
    every = dict.fromkeys(key for settings in flat for key in settings)
    varying = [key for key in every if len({repr(settings.get(key)) for settings in flat}) > 1]
    # The name of a group's choice speaks for all keys in the group.
    chosen = {key.removesuffix("name") for key in varying if key.endswith(".name")}
    said = [key for key in varying if key.endswith(".name") or not any(key.startswith(group) for group in chosen)]
    groups: dict[tuple[str, ...], list[Run]] = defaultdict(list)
    for run, settings in zip(runs, flat, strict=True):
        groups[tuple(repr(settings.get(key)) for key in varying)].append(run)
    named = {values: _name(dict(zip(varying, values, strict=True)), said) for values in groups}
    ordered = sorted(groups.items(), key=lambda item: (-len(item[1]), len(named[item[0]]), item[0]))
    names = [named[values] for values, _ in ordered]
    taken = Counter(names)
    unique = [f"{name} #{names[:i].count(name) + 1}" if taken[name] > 1 else name for i, name in enumerate(names)]
    return [(name.strip(), same) for name, (_, same) in zip(unique, ordered, strict=True)]


def _name(values: dict[str, str], said: list[str]) -> str:
    """What is special about a variant, from at most two of the keys that differ."""
    parts = []
    for key in said:
        value = values[key].strip("'")
        if value not in ("None", "none"):
            words = key.removesuffix(".name").rpartition(".")[2].replace("_", " ")
            parts.append(value.replace("_", " ") if key.endswith(".name") else f"{words} {value}")
    return ", ".join(parts[:2])


def _settings(config: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """What defines a result apart from the seed and the compression, as `group.key` and value."""
    for key, value in config.items():
        if key in AVERAGED:
            continue
        if isinstance(value, dict):
            skip = PLACES_WITHIN.get(key, ())
            yield from ((f"{key}.{name}", inner) for name, inner in value.items() if name not in skip)
        else:
            yield key, value
