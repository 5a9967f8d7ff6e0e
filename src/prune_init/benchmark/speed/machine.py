"""Where something is measured."""

import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from prune_init import results


def machine() -> dict[str, Any]:
    """Processor, GPU, threads, versions and date, for beside the figures."""
    about = Path("/proc/cpuinfo")
    lines = about.read_text().splitlines() if about.exists() else []
    cpus = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": cpus[0] if cpus else platform.processor(),
        "cores": len(cpus),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "date": datetime.now(UTC).date().isoformat(),
        "commit": results.commit(),
        **results.versions(),
    }
