"""Lightning's further processes of one run, under Hydra."""

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
    """Inside, Lightning starts its other ranks with this run's arguments; afterwards no trace of them is left.

    It starts them by the command line of this process. In a sweep that is the whole sweep, which each rank would run
    once more, in folders of its own; and the variables that it leaves behind would tell the sweep's next run that its
    ranks are there already.
    """
    arguments = list(sys.argv)
    hydra = HydraConfig.get()
    if hydra.mode == RunMode.MULTIRUN:
        given = OmegaConf.to_container(hydra.overrides.task)
        assert isinstance(given, list)
        sys.argv = [sys.argv[0], *map(str, given), "hydra.mode=RUN"]
        with read_write(hydra):  # type: ignore[arg-type]
            hydra.run.dir = hydra.runtime.output_dir  # Lightning passes it on
    try:
        with environment({name: os.environ.get(name) for name in VARIABLES}):
            yield
    finally:
        sys.argv = arguments
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
