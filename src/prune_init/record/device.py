"""The device of a run, for its record: the last bits of its numbers depend on it."""

import torch

from prune_init.host import processor
from prune_init.pruning.cost import peak
from prune_init.record.run_record import DeviceUsed


def described(device: torch.device, count: int) -> DeviceUsed:
    """Describe the device of this process and its host.

    Args:
        device: the device of this process.
        count: the number of devices of all processes of the run.
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
