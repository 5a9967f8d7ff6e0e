"""What a run is computed on: for its record, since the last bits of its numbers depend on it."""

from typing import Any

import torch

from prune_init.host import processor
from prune_init.pruning.cost import peak


def described(device: torch.device, count: int) -> dict[str, Any]:
    """Kind, model and number of the devices, threads of a process, versions of CUDA and cuDNN where they are used.

    Args:
        device: that of this process.
        count: of all processes of the run.

    Returns:
        Plain values; `peak_memory` is the most bytes that this process held, on the device.
    """
    found = {
        "kind": device.type,
        "name": processor(),
        "count": count,
        "threads": torch.get_num_threads(),
        "peak_memory": peak(device),
    }
    if device.type == "cuda":
        name, cudnn = torch.cuda.get_device_name(device), torch.backends.cudnn.version()
        found |= {"name": name, "cuda": torch.version.cuda, "cudnn": cudnn}
    return found
