"""`python -m prune_init`: compose with Hydra, check, run."""

import os
import shutil
import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

import prune_init.settings  # noqa: F401  (registers the resolvers)
from prune_init.explain import one_line


@hydra.main(version_base="1.3", config_path="pkg://prune_init.conf", config_name="config")
def run(cfg: DictConfig) -> float | None:
    """One run in its own folder; returns the last test accuracy, for sweepers that optimise."""
    from prune_init import experiment
    from prune_init.console import Console

    folder = Path(HydraConfig.get().runtime.output_dir)
    try:
        top1: float | None = experiment.run(cfg, folder, Console())["top1"]["last"]
        return top1
    except Exception as error:
        line = one_line(error)
        if line is not None:
            _remove_if_empty(folder, Path(cfg.results))
        if line is None or HydraConfig.get().mode == RunMode.MULTIRUN:  # a sweep goes on with its other runs
            raise
        raise SystemExit(line) from None


def _remove_if_empty(folder: Path, top: Path) -> None:
    """Take back the folder that Hydra made for a run that never began."""
    if {entry.name for entry in folder.iterdir()} <= {".hydra"}:
        shutil.rmtree(folder)
        for parent in folder.parents:
            if not parent.is_relative_to(top.absolute()) or any(parent.iterdir()):
                break
            parent.rmdir()


def main() -> None:
    """The command line: errors that the user can mend end in one line, bugs in a traceback."""
    wanted_full = "HYDRA_FULL_ERROR" in os.environ
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises instead of printing its own report
    try:
        run()
    except Exception as error:
        line = one_line(error)
        if line is None or wanted_full:
            raise
        sys.exit(line)
    finally:
        if not wanted_full:
            del os.environ["HYDRA_FULL_ERROR"]


if __name__ == "__main__":
    main()
