"""Checks before a run or a sweep begins: a mistake must not cost a folder, a job or an hour."""

import tempfile
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from prune_init.command.building import check_devices
from prune_init.command.trials import try_all
from prune_init.errors import InputError, MissingDataError
from prune_init.explain import shown
from prune_init.launching import plan
from prune_init.record import given_masks, kinds, results, schema, settings


class Preflight(Callback):
    """A Hydra callback that checks the configuration after it is composed and before a folder is made."""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Check a single run."""
        with _refusing():
            _check(config, [config], lambda run: Path(run.hydra.run.dir))

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Check every value of every swept key once, rather than all combinations."""
        with _refusing():
            launcher = config.hydra.runtime.choices["hydra/launcher"]
            if config.hydra.launcher._target_.endswith("SlurmLauncher") and config.force:
                why = f"with hydra/launcher={launcher} a requeued run would start again each time"
                raise InputError("force", "true", f"{why}; choose results=FOLDER")
            _check_writable(Path(config.hydra.sweep.dir))
            planner = plan.Planner.of(GlobalHydra.instance().config_loader(), config)
            here = launcher in ("basic", "packed_local")  # a cluster's nodes have devices and disks of their own
            _check(config, planner.samples(), lambda job: Path(job.hydra.sweep.dir) / job.hydra.sweep.subdir, here=here)


def _check(
    config: DictConfig, runs: Iterable[DictConfig], folder_of: Callable[[DictConfig], Path], *, here: bool = True
) -> None:
    """Check the configurations of `runs`, their folders, devices and data, and try their parts on a small scale."""
    given_masks.check_alone(plan.overrides(config))
    tried: set[str] = set()
    missing: list[MissingDataError | None] = []
    for run in runs:
        kinds.check(run)
        schema.check(run)
        folder, identity = folder_of(run), settings.identity(run)
        _check_writable(folder)
        alone = run is config  # in a sweep, bad files of one run are an error of that run only
        with nullcontext() if alone else suppress(InputError):
            if results.read(folder, identity) is not None and not run.force:
                missing.append(None)
                continue
        if alone and (folder / "last.ckpt").exists():
            from prune_init.training.resume import last_checkpoint

            last_checkpoint(folder, identity)
        if here:
            check_devices(run)
            missing.append(_missing_data(run))
        try_all(run, tried)
    if missing and None not in missing:  # runs that have their data can start
        raise next(filter(None, missing))


@contextmanager
def _refusing() -> Iterator[None]:
    """Raise SystemExit for any Exception, which Hydra would only report as a warning when it comes from a callback."""
    try:
        yield
    except Exception as error:
        raise SystemExit(shown(error) or "".join(traceback.format_exception(error))) from None


def _check_writable(folder: Path) -> None:
    """Try to write to the nearest existing folder, because permissions alone do not tell."""
    try:
        there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        why = f"cannot be written to ({error.strerror}); choose results=FOLDER"
        raise InputError("hydra.run.dir", folder, why) from None


def _missing_data(config: DictConfig) -> MissingDataError | None:
    """The error for missing files of the data set, found without reading any; None if nothing seems missing."""
    arguments = {str(key): value for key, value in config.dataset.items() if key not in ("name", "_target_")}
    try:
        getattr(resolve_name(config.dataset._target_), "look", dict)(**arguments)
    except MissingDataError as error:
        return error
    except Exception:
        return None  # building the data set reports it
    return None
