"""The runs of a sweep: found in seconds rather than by composing each, and written down so that the missing show."""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import OverrideType
from omegaconf import DictConfig, Node, OmegaConf, open_dict

from prune_init.errors import InputError
from prune_init.files import whole
from prune_init.record import limits, settings

SCHEMA = 1
FOLDER = ".sweeps"


class Planned(NamedTuple):
    """One run of a sweep."""

    folder: str  # below the sweep's folder
    identity: str
    overrides: list[str]


class Sweep(NamedTuple):
    """What was written down of one sweep."""

    title: str
    runs: list[Planned]


def plan(
    loader: ConfigLoader,
    config: DictConfig,
    jobs: Sequence[Sequence[str]],
    progress: Callable[[Sequence[Any]], Iterable[Any]] = iter,
) -> list[Planned]:
    """Folder and identity of every job, in the order of `jobs`; each is checked on the way.

    Args:
        loader: Hydra's, from its context or `GlobalHydra`.
        config: the sweep's own configuration, with `hydra`.
        jobs: the overrides of each run, e.g. `["scorer=snip", "seed=1"]`.
        progress: wraps the jobs, to show how far it is.

    Raises:
        InputError: a job has values that cannot work, or two jobs are one run.
        hydra.errors.HydraException: a job cannot be composed.
    """
    compose, results = Composer(loader, config), Path(config.hydra.sweep.dir)
    planned: dict[str, Planned] = {}
    for number, job in enumerate(progress(jobs)):
        cfg = compose(job, number)
        limits.check(cfg)
        identity = settings.identity(cfg)
        folder = settings.folder(results, cfg, identity) if _in_own_place(cfg) else str(cfg.hydra.sweep.subdir)
        run = Planned(folder, identity, list(job))
        first = planned.setdefault(folder, run)
        if first is not run:
            both = f"{' '.join(first.overrides)}; {' '.join(job)}"
            raise InputError("hydra.sweep.subdir", folder, f"two runs would share it: {both}")
    return list(planned.values())


class Composer:
    """Composes jobs of a sweep, Hydra's 0.1 to 0.2 s only once per combination of group choices.

    Plain values such as `seed=1` are set afterwards, which is what Hydra does with them as well; so a configuration
    serves only jobs that set the same keys, and no value of one job is left in another.
    """

    def __init__(self, loader: ConfigLoader, config: DictConfig) -> None:
        self._loader, self._config = loader, config
        self._parse = cache(OverridesParser.create(config_loader=loader).parse_override)
        self._quick = cache(self._is_plain_value)
        self._composed: dict[tuple[str, ...], DictConfig] = {}

    def __call__(self, job: Sequence[str], number: int) -> DictConfig:
        """The configuration of one job, good until the next call."""
        kind = tuple(self._parse(o).key_or_group if self._quick(o) else o for o in job)
        if kind not in self._composed:
            self._composed[kind] = self._loader.load_sweep_config(self._config, list(job))
        cfg = self._composed[kind]
        if not _in_own_place(cfg):  # a place of the user's own may hang on anything
            cfg = self._loader.load_sweep_config(self._config, list(job))
            with open_dict(cfg.hydra.job):
                cfg.hydra.job.id = cfg.hydra.job.num = number
        for override in filter(self._quick, job):
            parsed = self._parse(override)
            OmegaConf.update(cfg, parsed.key_or_group, parsed.value())
        return cfg

    def _is_plain_value(self, override: str) -> bool:
        """Whether `override` is `key=value`, where the key is no group and the value has no parts."""
        parsed = self._parse(override)
        return (
            parsed.type == OverrideType.CHANGE
            and not parsed.key_or_group.startswith("hydra.")
            and isinstance(parsed.value(), (str, int, float, bool, type(None)))
            and not self._loader.get_group_options(parsed.key_or_group)
        )


def _in_own_place(cfg: DictConfig) -> bool:
    """Whether a run's folder is the one that `settings.folder` gives."""
    node = cfg.hydra.sweep._get_node("subdir")
    return isinstance(node, Node) and node._value() == "${run_name:}"


def write(results: Path, planned: Sequence[Planned], title: str) -> Path:
    """Write the plan below the folder `results`; the same sweep typed again writes the same file.

    Each line is one run, after a line with the schema and the title; sweeps that share runs do no harm.
    """
    everything = hashlib.sha256("".join(sorted(run.folder + run.identity for run in planned)).encode()).hexdigest()
    path = results / FOLDER / f"{everything[:8]}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as partial, partial.open("w") as file:
        for line in ({"schema": SCHEMA, "title": title}, *(run._asdict() for run in planned)):
            file.write(json.dumps(line) + "\n")
    return path


def read(results: Path) -> list[Sweep]:
    """All plans below the folder `results`, oldest first.

    Raises:
        InputError: a file there is no plan of this schema.
    """
    sweeps = []
    for path in sorted((results / FOLDER).glob("*.jsonl"), key=lambda path: path.stat().st_mtime):
        try:
            head, *lines = (json.loads(line) for line in path.read_text().splitlines())
            if head["schema"] != SCHEMA:
                raise ValueError(f"is of schema {head['schema']}, not {SCHEMA}")
            sweeps.append(Sweep(head["title"], [Planned(**line) for line in lines]))
        except (ValueError, KeyError, TypeError) as error:
            raise InputError("results", path, f"is no plan of a sweep ({error}); move it away") from None
    return sweeps
