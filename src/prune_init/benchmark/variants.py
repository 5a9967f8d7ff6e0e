"""Which runs of one scorer are averaged: those that differ in the seed alone. Any other difference has its name."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from prune_init.record.keys import differing, label, leaves
from prune_init.record.run_record import RunRecord

AVERAGED = ("seed", "sparsity", "exponent", "lifecycle.sparsity")
"""Keys of a configuration that do not make another variant."""


def variants(records: Sequence[RunRecord]) -> list[tuple[str, list[int]]]:
    """Of one scorer on one network: name and places in `records` of each, the most frequent and plainest first."""
    flat = [{k: v for k, v in leaves(record.config).items() if k not in AVERAGED} for record in records]
    said = differing(flat)
    groups: dict[tuple[tuple[str, str], ...], list[int]] = defaultdict(list)
    for at, settings in enumerate(flat):
        groups[tuple(sorted((key, repr(value)) for key, value in settings.items()))].append(at)
    named = {key: _name(flat[places[0]], said) for key, places in groups.items()}
    ordered = sorted(groups.items(), key=lambda item: (-len(item[1]), len(named[item[0]]), item[0]))
    names = [named[key] for key, _ in ordered]
    taken = Counter(names)
    unique = [f"{name} #{names[:i].count(name) + 1}" if taken[name] > 1 else name for i, name in enumerate(names)]
    return [(name.strip(), places) for name, (_, places) in zip(unique, ordered, strict=True)]


def _name(settings: Mapping[str, Any], said: Sequence[str]) -> str:
    """What is special about a variant, from at most three keys, in the words that folders are named by."""
    told = {key: settings.get(key) for key in said}
    return ", ".join([label(key, value) for key, value in told.items() if value not in (None, "none")][:3])
