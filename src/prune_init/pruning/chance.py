"""Global randomness, which dropout and other layers draw from: seeded for one device, and given back."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def forked(device: torch.device, seed: int) -> Iterator[None]:
    """Inside, layers on `device` draw from this seed; afterwards the global generators are as they were."""
    devices, kind = ([], "cuda") if device.type == "cpu" else ([device], device.type)
    with torch.random.fork_rng(devices=devices, device_type=kind):
        reseed(device, seed)
        yield


def reseed(device: torch.device, seed: int) -> None:
    """Seed what layers on `device` draw from, and no other device's generator, as `torch.manual_seed` would."""
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        module = torch.get_device_module(device)
        with module.device(device):
            module.manual_seed(seed)
