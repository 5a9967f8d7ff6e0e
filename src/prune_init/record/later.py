"""Keys that were added later: older records lack them, and their defaults do not enter a run's identity."""

from collections.abc import Mapping
from typing import Any

KEYS: dict[str, Any] = {
    "masks": None,
    "tf32": False,
    "callbacks": {},
    "loss": {
        "name": "cross_entropy",
        "_target_": "torch.nn.functional.cross_entropy",
        "_partial_": True,
        "label_smoothing": 0.0,
    },
}
"""The keys with their defaults; empty values mean the default too."""

WITHIN = (("recipe", "drop_last", False), ("schedule", "counts", "nearest"))
"""The same for keys of groups: (group, key, default)."""


def filled(config: Mapping[str, Any]) -> dict[str, Any]:
    """A resolved configuration with the defaults of the keys that it lacks, so that older runs equal newer ones."""
    full = {**config, **{key: config.get(key) or default for key, default in KEYS.items()}}
    for group, key, default in WITHIN:
        if isinstance(full.get(group), Mapping):
            full[group] = {key: default, **full[group]}
    return full


def removed(config: Mapping[str, Any]) -> dict[str, Any]:
    """A resolved configuration without those of the keys that have their defaults."""
    full = filled(config)
    short = {key: value for key, value in full.items() if key not in KEYS or value != KEYS[key]}
    for group, key, default in WITHIN:
        short[group] = {name: value for name, value in full[group].items() if (name, value) != (key, default)}
    return short
