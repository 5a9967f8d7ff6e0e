"""The other processes (ranks) that Lightning starts for a run, made to work under Hydra."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf, read_write

from prune_init.host import environment

VARIABLES = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@contextmanager
def of_this_run_alone() -> Iterator[None]:
    """Let Lightning start its other ranks with this run's arguments inside the block, and clean up after them.

    Lightning starts ranks by repeating the command line of this process. In a sweep, each rank would repeat the whole
    sweep in folders of its own. The environment variables that Lightning leaves behind would make the next job of the
    sweep believe that its ranks are running already.
    """
    arguments = list(sys.argv)
    hydra = HydraConfig.get()
    if hydra.mode == RunMode.MULTIRUN:
        given = OmegaConf.to_container(hydra.overrides.task)
        assert isinstance(given, list)
        sys.argv = [sys.argv[0], *map(str, given), "hydra.mode=RUN"]
        with read_write(hydra):  # type: ignore[arg-type]
            hydra.run.dir = hydra.runtime.output_dir  # Lightning passes it to the ranks
    try:
        with environment({name: os.environ.get(name) for name in VARIABLES}):
            yield
    finally:
        sys.argv = arguments
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
