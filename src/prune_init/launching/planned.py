"""The runs of a sweep: what each is, where it goes, and the command that makes it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from prune_init.launching.plan import plan as compose

OURS = ("hydra/launcher", "hydra.launcher", "hydra/sweeper", "hydra.sweeper", "hydra.sweep", "hydra.run", "hydra.mode")
"""Options of the sweep, which its runs do not get."""


@dataclass(frozen=True)
class Planned:
    """One run of a sweep: plain values, so that it can be sent to another machine.

    Args:
        number: its place in the sweep.
        name: the overrides that tell it from the others.
        folder: where it goes, absolute.
        identity: what its result.json must say it is.
        overrides: what was asked for, without the options that all runs share.
        arguments: of `python -m prune_init`.
        devices: how many it computes on; None if that is not a number.
        nodes: on how many machines.
        more: overrides that the launcher adds: a checkpoint to resume from.
    """

    number: int
    name: str
    folder: Path
    identity: str
    overrides: tuple[str, ...]
    arguments: tuple[str, ...]
    devices: int | None = 1
    nodes: int = 1
    more: tuple[str, ...] = ()

    def tidy(self) -> None:
        """Of a finished run: remove last.ckpt, unless it was asked for."""
        if self.more:
            (self.folder / "last.ckpt").unlink(missing_ok=True)

    def __str__(self) -> str:
        return self.name


def plan(loader: Any, config: DictConfig, jobs: Sequence[Sequence[str]], first: int = 0) -> list[Planned]:
    """The run of each job; each is checked.

    Args:
        loader: Hydra's config loader.
        config: of the sweep.
        jobs: the overrides of each.
        first: number of the first.

    Raises:
        InputError: a job cannot work, or two jobs are one run.
    """
    shared = [*_sources(config), *_options(config)]
    trainers: dict[tuple[str, ...], DictConfig] = {}
    common = set.intersection(*map(set, jobs)) if len(jobs) > 1 else set()
    runs = []
    for number, found in enumerate(compose(loader, config, jobs), first):
        what = tuple(override for override in found.overrides if _key(override).startswith(("trainer", "experiment")))
        if what not in trainers:
            trainers[what] = loader.load_sweep_config(config, list(found.overrides)).trainer
        devices, nodes = trainers[what].devices, trainers[what].get("num_nodes") or 1
        more = () if any(_key(override) == "checkpoint" for override in found.overrides) else ("checkpoint=true",)
        runs.append(
            Planned(
                number,
                " ".join(override for override in found.overrides if override not in common),
                (Path(config.hydra.sweep.dir) / found.folder).absolute(),
                found.identity,
                tuple(found.overrides),
                (*shared, *found.overrides, *more),
                devices if isinstance(devices, int) else None,
                nodes,
                more,
            )
        )
    return runs


def _options(config: DictConfig) -> list[str]:
    given = OmegaConf.to_container(config.hydra.overrides.hydra)
    assert isinstance(given, list)
    return [str(option) for option in given if not _key(str(option)).startswith(OURS)]


def _sources(config: DictConfig) -> list[str]:
    """Where the configuration comes from, if the command line said so."""
    sources = {source.provider: source for source in config.hydra.runtime.config_sources}
    found = ["--config-name", str(config.hydra.job.config_name)]
    if sources["main"].schema == "file":
        found += ["--config-path", str(Path(sources["main"].path).absolute())]
    if "command-line" in sources:
        found += ["--config-dir", str(Path(sources["command-line"].path).absolute())]
    return found


def _key(override: str) -> str:
    return override.lstrip("+~").partition("=")[0]
