"""`python -m prune_init`: compose with Hydra, check, run."""

import os
import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

import prune_init.settings  # noqa: F401  (registers the resolvers)
from prune_init.explain import one_line


@hydra.main(version_base="1.3", config_path="pkg://prune_init.conf", config_name="config")
def run(cfg: DictConfig) -> float | None:
    """One run in its own folder; returns the last test accuracy, for sweepers that optimise."""
    from prune_init import experiment
    from prune_init.console import Console

    top1: float | None = experiment.run(cfg, Path(HydraConfig.get().runtime.output_dir), Console())["top1"]["last"]
    return top1


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
