"""Keep a small folder of each run that repeats a published one, with its results so far.

    prune-init keep-runs runs

In results/replication each run gets a folder of the same name with

- cell.json: its command, when it began, on which machine, with which versions, and its configuration;
- metrics.csv: one row for each epoch so far;
- result.json, when it is finished.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError  # type: ignore[import-untyped]

from prune_init.arguments import Parser
from prune_init.benchmark.collect import run_folders
from prune_init.errors import InputError, first_line
from prune_init.files import whole, write_json
from prune_init.record import results, settings
from prune_init.record import status as run_status
from prune_init.record.keys import PLACES_WITHIN, without_places
from prune_init.record.run_record import RunRecord

SCHEMA = 1
KEPT = Path("results/replication")
PLACES = ("results", *(f"{group}.{key}" for group in ("dataset",) for key in PLACES_WITHIN[group]))
"""Keys of overrides that only say where files are."""

Row = dict[str, Any]


def collect(runs: Path, to: Path = KEPT, *, commit: str | None = None) -> list[Path]:
    """Keep a small folder of every run below `runs` that has trained for an epoch; return these folders.

    Args:
        runs: a folder of runs, running or finished.
        to: where the small folders are written; others there are left alone.
        commit: the commit of the source code, for runs that were not made in a checkout.

    Raises:
        InputError: no run has trained for an epoch, or one has a missing or foreign file.
    """
    if not runs.is_dir():
        raise InputError("folder", runs, "is not a folder")
    written, problems = [], list[str]()
    for run, finished in run_folders(runs, problems):
        if (run / "metrics.csv").exists():
            written.append(_keep(run, results.read(run) if finished else None, to, commit))
    for problem in problems:
        print(problem, file=sys.stderr)
    if not written:
        raise InputError("folder", runs, "holds no run that has trained for an epoch")
    return written


def _keep(run: Path, result: RunRecord | None, to: Path, commit: str | None) -> Path:
    status = run_status.read(run)
    if status is None:
        raise InputError("folder", run / "status.json", "is missing or not ours")
    config, name = _configuration(run, status.identity, to)
    folder = to / name
    before = _kept(folder)
    if before.get("started", status.started) != status.started and not _continues(run, folder):
        # An earlier run of this configuration stays.
        folder = to / f"{name}-begun-{status.started[:16].replace(':', '')}"
        before = _kept(folder)
    folder.mkdir(parents=True, exist_ok=True)
    about = {
        "schema": SCHEMA,
        "identity": status.identity,
        "command": " ".join(["python -m prune_init", *filter(_tells, status.overrides)]),
        "started": before.get("started", status.started),
        "machine": before.get("machine") or _machine(),
        "versions": results.versions() if result is None else result.versions,
        "commit": commit if result is None else result.commit or commit,
        "config": config,
    }
    write_json(folder / "cell.json", about)
    with whole(folder / "metrics.csv") as partial:
        shutil.copyfile(run / "metrics.csv", partial)
    if result is not None:
        results.write(folder, result.model_copy(update={"config": config, "commit": about["commit"]}))
    return folder


def _configuration(run: Path, identity: str, to: Path) -> tuple[Row, str]:
    """The settings that define the run's result, without paths on this machine, and the name of its folder in `to`."""
    try:
        cfg = OmegaConf.load(run / ".hydra" / "config.yaml")
        assert isinstance(cfg, DictConfig)
        return without_places(settings.resolved(cfg)), settings.folder(to, cfg, identity)
    except OSError as error:
        raise InputError("folder", run, f"has no configuration ({error.strerror})") from None
    except (YAMLError, OmegaConfBaseException, AssertionError, KeyError) as error:
        raise InputError("folder", run / ".hydra", f"holds no configuration of a run ({first_line(error)})") from None


def _kept(folder: Path) -> Row:
    """What was recorded when the run was first kept, perhaps on another machine than this; empty for a new one."""
    path = folder / "cell.json"
    try:
        before = json.loads(path.read_text())
    except OSError:
        return {}
    except ValueError as error:
        raise InputError("--to", path, f"is damaged ({first_line(error)}); move it away") from None
    if not isinstance(before, dict):
        raise InputError("--to", path, "is not ours; move it away")
    return before


def _continues(run: Path, folder: Path) -> bool:
    """Whether the run's epochs begin with those in `folder`, as after a resumption, which counts as a new start."""
    try:
        before = (folder / "metrics.csv").read_text()
    except OSError as error:
        raise InputError("--to", folder, f"has no metrics.csv ({error.strerror}); move the folder away") from None
    return (run / "metrics.csv").read_text().startswith(before)


def _machine() -> Row:
    from prune_init.benchmark.speed.machine import machine

    return {key: value for key, value in machine().items() if key in ("processor", "cores", "gpu")}


def _tells(override: str) -> bool:
    return override.lstrip("+~").partition("=")[0] not in PLACES


def main(given: list[str] | None = None) -> None:
    """Keep the runs of a folder, and print the folders written."""
    parser = Parser(__doc__)
    parser.add_argument("folder", type=Path, help="where the runs lie, as in results=FOLDER")
    parser.add_argument("--to", type=Path, default=KEPT, help=f"default: {KEPT}")
    parser.add_argument("--commit", help="commit of the source tree, for runs that were not made in a checkout")
    parser.run(_keep_all, given, to="--to")


def _keep_all(chosen: argparse.Namespace) -> None:
    for folder in collect(chosen.folder, chosen.to, commit=chosen.commit):
        print(folder)


if __name__ == "__main__":
    main()
