"""The part of a machine that this process may use."""

import os


def cores() -> int:
    """How many cores: those of the machine, or those that SLURM or taskset left."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
