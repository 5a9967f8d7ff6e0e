"""Keys of a configuration: those that say where a run happens, those in which runs differ, and what they are called."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

PLACES_WITHIN = {
    "dataset": ("root", "download", "workers"),
    "trainer": (
        "_target_",
        "accelerator",
        "devices",
        "num_nodes",
        "strategy",
        "deterministic",
        "benchmark",
        "profiler",
    ),
}
"""Keys of groups that say where and how a run happens, not what it computes."""

CHOSEN_WITH = {"sample": "scorer"}
"""Groups that follow another one's choice."""


def leaves(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """All values by dotted keys, as in `recipe.optimizer.lr`, apart from `PLACES_WITHIN`."""
    return dict(_leaves(config, prefix))


def _leaves(config: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in config.items():
        if name in PLACES_WITHIN.get(prefix, ()):
            continue
        key = f"{prefix}.{name}" if prefix else str(name)
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, key)
        else:
            yield key, value


def refers(value: object) -> bool:
    """Whether a value that is not resolved stands for others."""
    return isinstance(value, str) and "${" in value


def differing(flat: Sequence[Mapping[str, Any]]) -> list[str]:
    """The keys whose values tell the configurations, each made by `leaves`, apart.

    Left out is what another one of them says as well: keys of a group that its choice determines, and keys that have
    the same value as another key in every configuration, as those have that refer to it.
    """
    columns = {
        key: tuple(repr(one.get(key)) for one in flat) for key in dict.fromkeys(key for one in flat for key in one)
    }
    found: dict[tuple[str, ...], str] = {}
    for key in sorted(columns, key=lambda key: key.count(".")):
        values, group = columns[key], key.partition(".")[0]
        chosen = columns.get(f"{CHOSEN_WITH.get(group, group)}.name", values)
        explained = chosen is not values and len(set(zip(chosen, values, strict=True))) == len(set(chosen))
        if len(set(values)) > 1 and not explained:
            found.setdefault(values, key)
    return [key for key in columns if key in found.values()]


def label(key: str, value: object) -> str:
    """What a run with this value is called: words speak for themselves, anything else needs its key."""
    name = key.removesuffix(".name").rpartition(".")[2]
    if isinstance(value, bool):
        return name if value else f"no_{name}"
    if isinstance(value, str) and name == "_target_":
        return value.rpartition(".")[2]
    text = value if isinstance(value, str) else f"{name}{value}"
    return re.sub(r"[^\w.+-]+", "_", text).strip("_")
