"""Checks before a run or a sweep begins: a mistake must not cost a folder, a job or an hour."""

import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
        """Check the configuration of a single run, its folder, devices and data, and try its parts on a small scale."""
        with _refusing():
            given_masks.check_alone(kinds.typed(config, "task"))
            kinds.check(config)
            schema.check(config)
            folder = Path(config.hydra.run.dir)
            _check_writable(folder)
            if results.read(folder, settings.identity(config)) is None or config.force:
                _check_resumable(folder, config)
                check_devices(config.trainer)
                if (missing := _missing_data(config)) is not None:
                    raise missing
                try_all(config, set())

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Check every value of every swept key once, rather than all combinations."""
        with _refusing():
            given_masks.check_alone(plan.overrides(config))
            planner = plan.Planner.of(GlobalHydra.instance().config_loader(), config)
            launcher = config.hydra.runtime.choices["hydra/launcher"]
            here = launcher in ("basic", "packed_local")  # a cluster's nodes have devices and disks of their own
            missing = {}
            for job in planner.samples():
                kinds.check(job)
                schema.check(job)
                if here:
                    check_devices(job.trainer)
                    missing[str(job.dataset)] = None if _finished(job) else _missing_data(job)
            _check_writable(Path(config.hydra.sweep.dir))
            if here and None not in missing.values():  # jobs that have their data can run
                raise next(filter(None, missing.values()))
            if config.hydra.launcher._target_.endswith("SlurmLauncher") and config.force:
                why = (
                    f"with hydra/launcher={launcher} a requeued run would start again each time; choose results=FOLDER"
                )
                raise InputError("force", "true", why)
            tried: set[str] = set()
            for job in planner.samples():
                try_all(job, tried)


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


def _check_resumable(folder: Path, config: DictConfig) -> None:
    """Check that the folder's last.ckpt, if there is one, is undamaged and belongs to this run."""
    if (folder / "last.ckpt").exists():
        from prune_init.training.resume import last_checkpoint

        last_checkpoint(folder, settings.identity(config))


def _finished(job: DictConfig) -> bool:
    folder = Path(job.hydra.sweep.dir) / job.hydra.sweep.subdir
    with suppress(InputError):  # the run itself reports it
        return results.read(folder, settings.identity(job)) is not None and not job.force
    return False


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
