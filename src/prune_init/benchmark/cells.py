"""The cells of a sweep: groups of runs that differ only in their seeds, and which of these are finished."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import DictConfig

from prune_init.errors import InputError
from prune_init.launching.plan import Planner, all_jobs, plan
from prune_init.record import kinds, results, settings


class Cell(NamedTuple):
    """Runs that differ only in their seeds."""

    name: str
    first: DictConfig  # the configuration of the first run
    overrides: list[str]  # of the first run
    folders: list[Path]
    done: list[float]  # hours that each finished run took


def sweep(arguments: Sequence[str]) -> tuple[ConfigLoader, DictConfig, list[list[str]]]:
    """Compose `python -m prune_init -m ARGUMENTS`: Hydra's config loader, the sweep's configuration and its jobs.

    Hydra must be initialised.

    Raises:
        InputError: a key has no value, or there are several presets.
    """
    loader = GlobalHydra.instance().config_loader()
    config = loader.load_configuration("config", list(arguments), run_mode=RunMode.MULTIRUN)
    return loader, config, all_jobs(loader, config)


def cells(loader: ConfigLoader, config: DictConfig, jobs: list[list[str]]) -> list[Cell]:
    """Group the runs of a sweep by everything but the seed.

    Raises:
        InputError: a job has values that cannot work, or runs on several devices.
    """
    planner = Planner.of(loader, config)
    found: dict[str, Cell] = {}
    for number, run in enumerate(plan(loader, config, jobs)):
        cfg = planner.compose(run.overrides, number)
        kinds.check(cfg)
        if cfg.trainer.devices not in (1, "auto"):
            raise InputError("trainer.devices", cfg.trainer.devices, "allowed: 1; estimates are for runs on one device")
        name = settings.name(cfg, run.identity).rpartition("-")[0].replace(f"-s{cfg.seed}", "", 1)
        all_but_seed = str({key: value for key, value in settings.resolved(cfg).items() if key != "seed"})
        if all_but_seed not in found:
            found[all_but_seed] = Cell(name, cfg.copy(), list(run.overrides), [], [])
        cell = found[all_but_seed]
        cell.folders.append(run.folder)
        if (record := results.read(run.folder, run.identity)) is not None:
            took = record.seconds  # not took.total: in older results that is of the last attempt only
            cell.done.append((took.setup + took.scoring + took.training) / 3600)
    return list(found.values())
