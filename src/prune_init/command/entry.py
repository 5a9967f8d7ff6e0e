"""The command line of a run: compose with Hydra, check, prune and train."""

import logging
import os
import shutil
import sys
import time
import warnings
from pathlib import Path

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from prune_init import __version__, explain
from prune_init.arguments import refusal
from prune_init.command.console import Console
from prune_init.command.interruption import Stopped, stoppable
from prune_init.explain import one_line, shown
from prune_init.record import results
from prune_init.record import status as run_status
from prune_init.record.run_record import RunRecord
from prune_init.record.settings import identity
from prune_init.swept_groups import deferred


@hydra.main(version_base="1.3", config_path="pkg://prune_init.conf", config_name="config")
def run(cfg: DictConfig) -> float | None:
    """Carry out one run in its own folder; return the last test accuracy, for sweepers that optimise.

    A finished run of the same configuration is shown as it is, unless `force` is set.

    Raises:
        InputError: the folder holds a run of another configuration.
    """
    folder = Path(HydraConfig.get().runtime.output_dir)
    record = results.read(folder, identity(cfg))
    if record is None or cfg.force:
        record = _recorded_run(cfg, folder)
    else:
        Console().already_done(record, folder, cfg)
    return record.top1.last


def _recorded_run(cfg: DictConfig, folder: Path) -> RunRecord:
    """Run and keep status.json; a single run with a user's mistake shows one line and leaves no empty folder behind."""
    began = False
    try:
        with stoppable(), run_status.recorded(folder, identity(cfg), list(HydraConfig.get().overrides.task)):
            began = True
            (folder / "result.json").unlink(missing_ok=True)  # with force=true; else a failed run would seem done
            return _run(cfg, folder)
    except Stopped as stop:
        kept = cfg.checkpoint and (folder / "last.ckpt").exists()
        then = "resumes after the last complete epoch" if kept else "starts again"
        print(f"{stop}, without a result; the same command {then}", file=sys.stderr)
        raise
    except Exception as error:
        line = one_line(error)
        if HydraConfig.get().mode == RunMode.MULTIRUN:  # a sweep goes on with its other runs, and ends with one error
            print(f"failed: {folder}: {line or repr(error)}", flush=True)
            raise
        if line is None:
            raise
        if began:
            _remove_if_empty(folder, Path(cfg.results))
        if explain.whole_tracebacks:
            raise
        raise SystemExit(line) from None


def _run(cfg: DictConfig, folder: Path) -> RunRecord:
    """Read the data before importing Lightning, which takes seconds, so that missing files are reported at once."""
    from prune_init.command import building

    start = time.perf_counter()
    dataset = building.dataset(cfg)
    reading = time.perf_counter() - start
    from prune_init.command import experiment, ranks

    with ranks.of_this_run_alone():
        return experiment.run(cfg, folder, Console(), dataset, reading)


def _remove_if_empty(folder: Path, top: Path) -> None:
    """Remove the folder that Hydra made if the run left nothing in it, and parent folders that this empties."""
    if {entry.name for entry in folder.iterdir()} <= {".hydra", *run_status.FILES}:
        shutil.rmtree(folder)
        for parent in folder.parents:
            if not parent.is_relative_to(top.absolute()) or any(parent.iterdir()):
                break
            parent.rmdir()


def _check_options() -> None:
    """Parse Hydra's options first, because Hydra would print its usage with every error."""
    parser = get_args_parser()
    parser.error = lambda message: sys.exit(refusal(parser, message))  # type: ignore[method-assign]
    parser.parse_args()


def main() -> None:
    """Run the command line; errors that the user can correct end in one line, bugs in a traceback."""
    wanted_full = explain.whole_tracebacks = "HYDRA_FULL_ERROR" in os.environ
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises instead of printing its own report
    warnings.filterwarnings("error", "provider=.* is not available")
    warnings.filterwarnings("ignore", "Experimental rerun")  # it says that other arguments are ignored
    logging.getLogger("hydra").addHandler(logging.NullHandler())  # it also raises what it logs
    typed = sys.argv
    if typed[1:] == ["--version"]:
        print(f"prune_init {__version__}")
        return
    try:
        sys.argv = [typed[0], *deferred(typed[1:])]
        _check_options()
        run()
    except Exception as error:
        line = shown(error)
        if line is None:
            raise
        sys.exit(line)
    finally:
        sys.argv = typed
        if not wanted_full:
            del os.environ["HYDRA_FULL_ERROR"]
