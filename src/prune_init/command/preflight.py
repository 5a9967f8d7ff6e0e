"""Checks before a run or a sweep begins: a mistake must not cost a folder, a job or an hour."""

import tempfile
import traceback
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from prune_init.command.building import check_devices
from prune_init.command.trials import TRIALS
from prune_init.errors import InputError, MissingDataError
from prune_init.explain import shown
from prune_init.launching.plan import Composer
from prune_init.record import given_masks, kinds, limits, results, settings


class Preflight(Callback):
    """Hydra calls this after composing and before it makes a folder.

    Hydra turns an Exception of a callback into a warning; SystemExit stops it.
    """

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Check the one configuration, and that its network takes its images."""
        try:
            given_masks.check_alone(config.hydra.overrides.task)
            _check(config, {})
            folder = Path(config.hydra.run.dir)
            _writable(folder)
            if results.read(folder, settings.identity(config)) is None or config.force:
                _resumable(folder, config)
                check_devices(config.trainer)
                if (missing := _missing_data(config)) is not None:
                    raise missing
                for trial in TRIALS:
                    trial(config)
        except Exception as error:
            _refuse(error)

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Check every value of every swept key, each once rather than in all combinations."""
        try:
            given_masks.check_alone(f"{key}={','.join(values)}" for key, values in _swept(config, _loader()).items())
            jobs = _Jobs(config)
            known: kinds.Known = {}
            for job in jobs:
                _check(job, known)
            _writable(Path(config.hydra.sweep.dir))
            launcher = config.hydra.runtime.choices["hydra/launcher"]
            if launcher in ("basic", "packed_local"):
                _check_this_machine(jobs)  # a cluster's nodes have devices and disks of their own
            elif config.hydra.launcher._target_.endswith("SlurmLauncher") and config.force:
                why = f"with hydra/launcher={launcher} a requeued run would begin anew each time; choose results=FOLDER"
                raise InputError("force", "true", why)
            tried = set()
            for job in jobs:
                values = settings.resolved(job)
                for trial, keys in TRIALS.items():
                    what = (trial, str([values[key] for key in keys]))
                    if what not in tried:
                        trial(job)
                        tried.add(what)
        except Exception as error:
            _refuse(error)


def _check(config: DictConfig, known: kinds.Known) -> None:
    kinds.check(config, _loader(), known)
    limits.check(config)


def _loader() -> Any:
    return GlobalHydra.instance().config_loader()


def _refuse(error: Exception) -> None:
    raise SystemExit(shown(error) or "".join(traceback.format_exception(error))) from None


class _Jobs:
    """The first combination of a sweep, and then each further value with the others at their first.

    Each is good until the next one is asked for.
    """

    def __init__(self, config: DictConfig) -> None:
        loader = _loader()
        values = _swept(config, loader)
        first = {key: options[0] for key, options in values.items()}
        more = ({**first, key: option} for key, options in values.items() for option in options[1:])
        self._overrides = [[f"{key}={value}" for key, value in choices.items()] for choices in (first, *more)]
        self._compose = Composer(loader, config)

    def __iter__(self) -> Iterator[DictConfig]:
        return (self._compose(overrides, number) for number, overrides in enumerate(self._overrides))


def _swept(config: DictConfig, loader: Any) -> dict[str, list[str]]:
    """The values of each key that the sweep gives, one or more."""
    swept = [f"{key}={value}" for key, value in (config.hydra.sweeper.get("params") or {}).items()]
    overrides = OverridesParser.create(config_loader=loader).parse_overrides([*swept, *config.hydra.overrides.task])
    values: dict[str, list[str]] = {}
    for override in overrides:
        key = override.get_key_element()
        given = str(override.input_line).partition("=")[2]
        plain = [] if override.is_sweep_override() else [override.get_value_element_as_str()]
        try:
            values[key] = plain or list(override.sweep_string_iterator())
        except ValueError as error:
            raise InputError(key, given, f"cannot be read ({error})") from None
        if key == "experiment" and override.is_sweep_override():
            raise InputError(key, given, "allowed: one at a time; most are sweeps themselves")
        if not values[key]:
            raise InputError(key, given, "gives no value; allowed: at least one")
    return values


def _writable(folder: Path) -> None:
    """Try the nearest folder that exists: permissions alone do not tell."""
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise InputError(
            "hydra.run.dir", folder, f"cannot be written to ({error.strerror}); choose results=FOLDER"
        ) from None


def _resumable(folder: Path, config: DictConfig) -> None:
    """Whether the folder's last.ckpt, if there is one, is whole and this run's."""
    if (folder / "last.ckpt").exists():
        from prune_init.training.resume import last_checkpoint

        last_checkpoint(folder, settings.identity(config))


def _check_this_machine(jobs: _Jobs) -> None:
    """Whether it has the devices of all jobs, and data for any: where some have theirs, those run."""
    errors = {}
    for job in jobs:
        check_devices(job.trainer)
        errors[str(job.dataset)] = None if _finished(job) else _missing_data(job)
    missing = [error for error in errors.values() if error is not None]
    if missing and len(missing) == len(errors):
        raise missing[0]


def _finished(job: DictConfig) -> bool:
    folder = Path(job.hydra.sweep.dir) / job.hydra.sweep.subdir
    with suppress(InputError):  # the run itself will tell
        return results.read(folder, settings.identity(job)) is not None and not job.force
    return False


def _missing_data(config: DictConfig) -> MissingDataError | None:
    """That the data set's files are not there, as far as can be told without reading any."""
    arguments = {str(key): value for key, value in config.dataset.items() if key not in ("name", "_target_")}
    try:
        getattr(resolve_name(config.dataset._target_), "look", dict)(**arguments)
    except MissingDataError as error:
        return error
    except Exception:
        return None  # making the data set will tell
    return None
