"""What a run is computed on: for its record, since the last bits of its numbers depend on it."""

import torch

from prune_init.host import processor
from prune_init.pruning.cost import peak
from prune_init.record.run_record import DeviceUsed


def described(device: torch.device, count: int) -> DeviceUsed:
    """The device of this process, and its host.

    Args:
        device: that of this process.
        count: of all processes of the run.
    """
    cuda = device.type == "cuda"
    return DeviceUsed(
        kind=device.type,
        name=torch.cuda.get_device_name(device) if cuda else processor(),
        processor=processor(),
        count=count,
        threads=torch.get_num_threads(),
        peak_memory=peak(device),
        cuda=torch.version.cuda if cuda else None,
        cudnn=torch.backends.cudnn.version() if cuda else None,
    )
