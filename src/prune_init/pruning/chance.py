"""The global random state, which dropout and other layers draw from: seed it for one device and restore it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def forked(device: torch.device, seed: int) -> Iterator[None]:
    """Seed the random numbers of layers on `device` inside the context; restore the global generators afterwards."""
    devices, kind = ([], "cuda") if device.type == "cpu" else ([device], device.type)
    with torch.random.fork_rng(devices=devices, device_type=kind):
        reseed(device, seed)
        yield


def reseed(device: torch.device, seed: int) -> None:
    """Seed the generators that layers on `device` use; unlike `torch.manual_seed`, leave other devices' alone."""
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        module = torch.get_device_module(device)
        with module.device(device):
            module.manual_seed(seed)
