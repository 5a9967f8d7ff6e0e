"""The cells of a sweep: its runs gathered over their seeds, and which of them are finished."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig

from prune_init.errors import InputError
from prune_init.launching.plan import Composer, plan
from prune_init.record import kinds, results, settings


class Cell(NamedTuple):
    """Runs that differ in their seeds alone."""

    name: str
    overrides: list[str]  # of the first run
    folders: list[Path]
    done: list[float]  # hours that the finished ones took


def sweep(arguments: Sequence[str]) -> tuple[ConfigLoader, DictConfig, list[list[str]]]:
    """What Hydra makes of `python -m prune_init -m ARGUMENTS`: its loader, the configuration and the jobs.

    Hydra must be initialised.

    Raises:
        InputError: several presets.
    """
    loader = GlobalHydra.instance().config_loader()
    config = loader.load_configuration("config", list(arguments), run_mode=RunMode.MULTIRUN)
    params = [f"{key}={value}" for key, value in (config.hydra.sweeper.get("params") or {}).items()]
    parsed = OverridesParser.create(config_loader=loader).parse_overrides([*params, *arguments])
    for override in parsed:
        if override.key_or_group == "experiment" and override.is_sweep_override():
            raise InputError("experiment", str(override.input_line).partition("=")[2], "allowed: one at a time")
    return loader, config, BasicSweeper.split_arguments(parsed, None)[0]


def cells(loader: ConfigLoader, config: DictConfig, jobs: list[list[str]]) -> list[Cell]:
    """The runs of a sweep, gathered over their seeds.

    Raises:
        InputError: a job cannot work.
    """
    compose, known = Composer(loader, config), dict[tuple[str, ...], dict[str, Any]]()
    found: dict[str, Cell] = {}
    for number, run in enumerate(plan(loader, config, jobs)):
        cfg = compose(run.overrides, number)
        kinds.check(cfg, loader, known)
        if cfg.trainer.devices not in (1, "auto"):
            raise InputError("trainer.devices", cfg.trainer.devices, "allowed: 1; what a run takes on one is estimated")
        name = settings.name(cfg, run.identity).rpartition("-")[0].replace(f"-s{cfg.seed}", "", 1)
        folder = Path(config.hydra.sweep.dir) / run.folder
        cell = found.setdefault(_without_seed(cfg), Cell(name, run.overrides, [], []))
        cell.folders.append(folder)
        if (record := results.read(folder, run.identity)) is not None:
            took = record.seconds  # its total is that of the last attempt
            cell.done.append((took.setup + took.scoring + took.training) / 3600)
    return list(found.values())


def _without_seed(cfg: DictConfig) -> str:
    return str({key: value for key, value in settings.resolved(cfg).items() if key != "seed"})
