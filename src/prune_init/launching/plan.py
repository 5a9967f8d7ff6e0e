"""Plan the runs of a sweep: compose and check each job, once for all users of the plan."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import OverrideType
from omegaconf import DictConfig, Node, OmegaConf, open_dict

from prune_init.errors import InputError
from prune_init.explain import key_of
from prune_init.record import schema, settings

OURS = ("hydra/launcher", "hydra.launcher", "hydra/sweeper", "hydra.sweeper", "hydra.sweep", "hydra.run", "hydra.mode")
"""Overrides for the sweep itself, which are not passed on to its runs."""


@dataclass(frozen=True)
class Planned:
    """One run of a sweep, in plain values, so that it can be sent to another machine.

    Args:
        folder: the run's folder.
        identity: the hash that its result.json must have.
        overrides: the job's overrides, without the options that all runs share.
        number: its place in the sweep.
        name: the overrides that distinguish it from the other runs.
        arguments: the arguments of `python -m prune_init`.
        devices: the number of devices per node; None if it is not given as a number.
        nodes: the number of machines.
        more: overrides that the launcher adds, so that a checkpoint is written from which to resume.
    """

    folder: Path
    identity: str
    overrides: tuple[str, ...] = ()
    number: int = 0
    name: str = ""
    arguments: tuple[str, ...] = ()
    devices: int | None = 1
    nodes: int = 1
    more: tuple[str, ...] = ()

    def tidy(self) -> None:
        """Remove the last.ckpt of a finished run, unless the user set `checkpoint`."""
        if self.more:
            (self.folder / "last.ckpt").unlink(missing_ok=True)

    def __str__(self) -> str:
        return self.name


def overrides(config: DictConfig) -> list[str]:
    """The overrides of a sweep: those of its preset, then those of the command line, which take precedence."""
    swept = config.hydra.sweeper.get("params") or {}
    return [*(f"{key}={value}" for key, value in swept.items()), *typed(config, "task")]


def typed(config: DictConfig, which: str) -> list[str]:
    """The overrides of the `task` or of `hydra` itself as they were given: `x=${y}` is not resolved."""
    given: list[str] = OmegaConf.to_container(config.hydra.overrides[which])  # type: ignore[assignment]
    return given


def all_jobs(loader: ConfigLoader, config: DictConfig) -> list[list[str]]:
    """The overrides of each run: all combinations of the swept values.

    Raises:
        InputError: a key has no value or cannot be read, or there are several presets.
    """
    parsed = OverridesParser.create(config_loader=loader).parse_overrides(overrides(config))
    for override in parsed:
        if not override.is_sweep_override():
            continue
        key, given = override.get_key_element(), str(override.input_line).partition("=")[2]
        if key == "experiment":
            raise InputError(key, given, "allowed: one preset at a time; most are sweeps themselves")
        try:
            some = any(True for _ in override.sweep_string_iterator())
        except ValueError as error:
            raise InputError(key, given, f"cannot be read ({error})") from None
        if not some:
            raise InputError(key, given, "gives no value; allowed: at least one")
    jobs: list[list[str]] = BasicSweeper.split_arguments(parsed, None)[0]
    return jobs


def plan(
    loader: ConfigLoader,
    config: DictConfig,
    jobs: Sequence[Sequence[str]],
    first: int = 0,
    progress: Callable[[Sequence[Any]], Iterable[Any]] = iter,
) -> list[Planned]:
    """Plan and check the run of each job; jobs that were planned before are not composed again.

    Args:
        loader: Hydra's config loader, from its context or `GlobalHydra`.
        config: the sweep's own configuration, with `hydra`.
        jobs: the overrides of each run, e.g. `["scorer=snip", "seed=1"]`.
        first: the number of the first run.
        progress: wraps the jobs, to show progress.

    Raises:
        InputError: a job has values that cannot work, or two jobs have the same folder.
        hydra.errors.HydraException: a job cannot be composed.
    """
    planner = Planner.of(loader, config)
    common = set.intersection(*map(set, jobs)) if len(jobs) > 1 else set()
    runs: dict[Path, Planned] = {}
    for number, job in enumerate(progress(jobs), first):
        run = planner.run(tuple(job), number, common)
        other = runs.setdefault(run.folder, run)
        if other is not run:
            both = f"{' '.join(other.overrides)}; {' '.join(job)}"
            raise InputError("hydra.sweep.subdir", run.folder.name, f"two runs would share it: {both}")
    return list(runs.values())


class Planner:
    """Composes the jobs of a sweep; Hydra, which takes 0.1 to 0.2 s, is called once per combination of group choices.

    Plain values such as `seed=1` are then set in that configuration, as Hydra itself would do. It is reused only for
    jobs that set the same keys, so that no value of one job remains in another.
    """

    _last: "Planner | None" = None

    def __init__(self, loader: ConfigLoader, config: DictConfig) -> None:
        self._loader, self._config = loader, config
        self._parse = cache(OverridesParser.create(config_loader=loader).parse_override)
        self._quick = cache(self._is_plain_value)
        self._composed: dict[tuple[str, ...], DictConfig] = {}
        self._runs: dict[tuple[str, ...], Planned] = {}

    @classmethod
    def of(cls, loader: ConfigLoader, config: DictConfig) -> "Planner":
        """The planner of this sweep, shared by the checks, the sweeper and the launcher, which Hydra calls in turn."""
        if cls._last is None or (cls._last._loader, id(cls._last._config)) != (loader, id(config)):
            cls._last = cls(loader, config)
        return cls._last

    def compose(self, job: Sequence[str], number: int) -> DictConfig:
        """The configuration of one job, valid until the next call."""
        kind = tuple(self._parse(o).key_or_group if self._quick(o) else o for o in job)
        if kind not in self._composed:
            self._composed[kind] = self._loader.load_sweep_config(self._config, list(job))
        cfg = self._composed[kind]
        if not _in_own_place(cfg):  # a subdir that the user set may depend on anything
            cfg = self._loader.load_sweep_config(self._config, list(job))
            with open_dict(cfg.hydra.job):
                cfg.hydra.job.id = cfg.hydra.job.num = number
        for override in filter(self._quick, job):
            parsed = self._parse(override)
            OmegaConf.update(cfg, parsed.key_or_group, parsed.value())
        return cfg

    def samples(self) -> Iterator[DictConfig]:
        """Compose the first job and every job with a value not seen before: every value, not all combinations."""
        seen: set[str] = set()
        for number, job in enumerate(all_jobs(self._loader, self._config)):
            if number == 0 or not seen.issuperset(job):
                seen.update(job)
                yield self.compose(job, number)

    def run(self, job: tuple[str, ...], number: int, common: set[str]) -> Planned:
        """The run of a job, planned at the first call and remembered."""
        if job not in self._runs:
            cfg = self.compose(job, number)
            schema.check(cfg)
            identity = settings.identity(cfg)
            results = Path(self._config.hydra.sweep.dir)
            folder = settings.folder(results, cfg, identity) if _in_own_place(cfg) else str(cfg.hydra.sweep.subdir)
            more = () if any(key_of(override) == "checkpoint" for override in job) else ("checkpoint=true",)
            self._runs[job] = Planned(
                folder=(results / folder).absolute(),
                identity=identity,
                overrides=job,
                number=number,
                name=" ".join(override for override in job if override not in common),
                arguments=(*self._shared, *job, *more),
                devices=cfg.trainer.devices if isinstance(cfg.trainer.devices, int) else None,
                nodes=cfg.trainer.get("num_nodes") or 1,
                more=more,
            )
        return self._runs[job]

    @cached_property
    def _shared(self) -> list[str]:
        """The arguments of all runs: their configuration's source, if given on the command line, and hydra options."""
        hydra = self._config.hydra
        sources = {source.provider: source for source in hydra.runtime.config_sources}
        found = ["--config-name", str(hydra.job.config_name)]
        for option, provider in {"--config-path": "main", "--config-dir": "command-line"}.items():
            if provider in sources and sources[provider].schema == "file":
                found += [option, str(Path(sources[provider].path).absolute())]
        return found + [option for option in typed(self._config, "hydra") if not key_of(option).startswith(OURS)]

    def _is_plain_value(self, override: str) -> bool:
        """Whether `override` is `key=value`, where the key is no config group and the value no list or dict."""
        parsed = self._parse(override)
        return (
            parsed.type == OverrideType.CHANGE
            and not parsed.key_or_group.startswith("hydra.")
            and isinstance(parsed.value(), (str, int, float, bool, type(None)))
            and not self._loader.get_group_options(parsed.key_or_group)
        )


def _in_own_place(cfg: DictConfig) -> bool:
    """Whether the run goes to the default folder, the one that `settings.folder` gives."""
    node = cfg.hydra.sweep._get_node("subdir")
    return isinstance(node, Node) and node._value() == "${run_name:}"
