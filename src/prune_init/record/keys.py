"""Keys of a configuration: which of them define a result, in which of them runs differ, and their labels."""

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
"""Keys of groups that say where and how a run is computed, not what it computes; see `places`."""

OFFICIAL = tuple(
    f"prune_init.data.{name}"
    for name in (
        *(f"torchvision_sets.{name}" for name in ("cifar10", "cifar100", "fashion_mnist", "mnist")),
        *("folder.imagenet", "tiny_imagenet.tiny_imagenet", "fashion_small.fashion_small"),
    )
)
"""Data sets that are the same wherever they lie; of all others, the folder `root` decides what is in them."""

CHOSEN_WITH = {"sample": "scorer"}
"""Groups whose values are determined by another group's choice."""


def places(group: str, settings: Mapping[str, Any]) -> tuple[str, ...]:
    """The keys of a group's settings that say where and how a run is computed, not what it computes."""
    keys = PLACES_WITHIN.get(group, ())
    return keys if settings.get("_target_") in OFFICIAL else tuple(key for key in keys if key != "root")


def without_places(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration without those keys of its groups."""
    return {
        group: {key: value for key, value in settings.items() if key not in places(group, settings)}
        if group in PLACES_WITHIN
        else settings
        for group, settings in config.items()
    }


def leaves(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """All values by dotted keys, such as `recipe.optimizer.lr`, without the `places` of groups."""
    return dict(_leaves(config, prefix))


def _leaves(config: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    left_out = places(prefix, config)
    for name, value in config.items():
        if name in left_out:
            continue
        key = f"{prefix}.{name}" if prefix else str(name)
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, key)
        else:
            yield key, value


def refers(value: object) -> bool:
    """Whether an unresolved value refers to others by interpolation."""
    return isinstance(value, str) and "${" in value


def differing(flat: Sequence[Mapping[str, Any]]) -> list[str]:
    """The keys by which configurations differ; each configuration is given as the result of `leaves`.

    Redundant keys are left out: keys of a group that are determined by the group's choice, and keys that have the same
    value as another key in every configuration, such as interpolations of it.
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
    """The label of a value in a run's name: text stands alone, a number follows its key, a switch is KEY or no_KEY."""
    name = key.removesuffix(".name").rpartition(".")[2]
    if isinstance(value, bool):
        return name if value else f"no_{name}"
    if isinstance(value, str) and name == "_target_":
        return value.rpartition(".")[2]
    text = value if isinstance(value, str) else f"{name}{value}"
    return re.sub(r"[^\w.+-]+", "_", text).strip("_")
