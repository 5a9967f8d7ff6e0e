"""Group runs for tables and figures: runs are averaged only if they differ in nothing but the seed."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from prune_init.benchmark.finished_run import FinishedRun
from prune_init.errors import InputError
from prune_init.record.keys import differing, label, leaves

AVERAGED = ("seed", "sparsity", "exponent", "lifecycle.sparsity")
"""Configuration keys in which the runs of one variant may differ."""


class Group(NamedTuple):
    """Runs of a variant at one compression."""

    runs: tuple[FinishedRun, ...]  # one of each seed, to be averaged
    repeats: tuple[FinishedRun, ...]  # further runs of these seeds, which are not


class Variant(NamedTuple):
    """Runs of one scorer on one network that differ only in seed and compression, by exponent."""

    scorer: str
    name: str  # empty if the scorer has no other variant, or nothing to name this one by
    order: int  # position among the scorer's variants
    groups: dict[float, Group]


def networks(runs: Iterable[FinishedRun]) -> dict[tuple[str, str], list[FinishedRun]]:
    """The runs of each data set and network."""
    found: dict[tuple[str, str], list[FinishedRun]] = defaultdict(list)
    for run in runs:
        found[run.record.dataset, run.record.architecture].append(run)
    return found


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
            yield Variant(scorer, name, order, {exponent: _group(at[exponent]) for exponent in sorted(at)})


def _group(runs: Sequence[FinishedRun]) -> Group:
    """Of a seed's runs, whose exponents agree in 4 digits only, the one with the group's usual exponent counts."""
    usual = Counter(run.record.exponent for run in runs)
    one: dict[int, FinishedRun] = {}
    for run in sorted(runs, key=lambda run: -usual[run.record.exponent]):
        one.setdefault(run.record.seed, run)
    return Group(
        tuple(run for run in runs if run is one[run.record.seed]),
        tuple(run for run in runs if run is not one[run.record.seed]),
    )


def grouped(runs: Iterable[FinishedRun]) -> Iterator[Group]:
    """Yield the groups of all networks."""
    return (group for same in networks(runs).values() for one in variants(same) for group in one.groups.values())


def repeated(runs: Iterable[FinishedRun]) -> Iterator[InputError]:
    """Yield an error for each run that is not averaged because another one of its group has the same seed."""
    for group in grouped(runs):
        for run in group.repeats:
            (other,) = (one for one in group.runs if one.record.seed == run.record.seed)
            this, that = (f"sparsity {one.record.sparsity:.9g}" for one in (run, other))
            why = f"has the seed {run.record.seed} of {other.folder} ({that})"
            yield InputError("results", run.folder, f"{why}, which alone counts in means, not this ({this})")


def of_other_code(runs: Iterable[FinishedRun]) -> Iterator[InputError]:
    """Yield an error for each module of the user's own whose code changed between the runs of a mean, at the first."""
    told = set[str]()
    for group in grouped(runs):
        first: dict[str, tuple[str, FinishedRun]] = {}
        for run in group.runs:
            for module, checksum in (run.record.code or {}).items():
                before, other = first.setdefault(module, (checksum, run))
                if before != checksum and module not in told:
                    told.add(module)
                    why = f"changed between {other.folder} and {run.folder}, which are averaged"
                    yield InputError("code", module, f"{why}; force=true repeats runs with the present code")


def _named(runs: Sequence[FinishedRun]) -> Iterator[tuple[str, list[FinishedRun]]]:
    flat = [{k: v for k, v in leaves(run.record.config).items() if k not in AVERAGED} for run in runs]
    told = _telling(flat)
    groups: dict[tuple[tuple[str, str], ...], list[FinishedRun]] = defaultdict(list)
    for run, settings in zip(runs, flat, strict=True):
        groups[tuple(sorted((key, repr(value)) for key, value in settings.items()))].append(run)
    ordered = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    names = _names([leaves(same[0].record.config) for _, same in ordered], told)
    named = zip(names, (same for _, same in ordered), strict=True)
    yield from sorted(named, key=lambda one: (-len(one[1]), len(one[0])))


def _telling(flat: Sequence[Mapping[str, Any]]) -> list[str]:
    """Keys that tell variants apart: each one some that those before it do not. Words come before numbers."""
    told, found = list[str](), 1
    keys = differing(flat)
    numbers = {key for key in keys if any(isinstance(one.get(key), int | float) for one in flat)}
    for key in sorted(keys, key=numbers.__contains__):
        values = {tuple(repr(_set(one, key)) for key in (*told, key)) for one in flat}
        if len(values) > found:
            told, found = [*told, key], len(values)
    return told


def _names(variants: Sequence[Mapping[str, Any]], told: Sequence[str]) -> list[str]:
    """The variants' names, in the words used in folder names; those that would be alike have keys or else numbers."""
    given = [{key: _set(one, key) for key in told} for one in variants]
    names = [", ".join(label(key, value) for key, value in one.items() if value is not None) for one in given]
    taken = Counter(names)
    for place, one in enumerate(given):
        if taken[names[place]] > 1:  # two classes of one name
            names[place] = ", ".join(f"{key}={value!r}" for key, value in one.items() if value is not None)
    taken = Counter(names)
    return [
        f"{name} #{names[: place + 1].count(name)}".strip() if taken[name] > 1 else name
        for place, name in enumerate(names)
    ]


def _set(settings: Mapping[str, Any], key: str) -> Any:
    """The value of a setting; None for an empty one."""
    value = settings.get(key)
    return None if value in (None, "none", {}, []) else value
