"""The machine on which something is measured."""

from datetime import UTC, datetime
from typing import Any

import torch

from prune_init.host import processor, processors
from prune_init.record import results


def machine() -> dict[str, Any]:
    """Processor, cores, threads, GPU, date, commit and versions, to be recorded with measurements."""
    return {
        "processor": processor(),
        "cores": len(processors()),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "date": datetime.now(UTC).date().isoformat(),
        "commit": results.commit(),
        **results.versions(),
    }
