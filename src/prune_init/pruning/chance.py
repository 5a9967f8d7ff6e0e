"""The global random state, which dropout and other layers draw from: seed it for one device and restore it."""

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def forked(device: torch.device, seed: int) -> Iterator[None]:
    """Inside the context, seed the generators of torch on `device`, of Python and, if it is in use, of numpy."""
    devices, kind = ([], "cuda") if device.type == "cpu" else ([device], device.type)
    numpy = sys.modules.get("numpy")
    python, more = random.getstate(), numpy.random.get_state() if numpy else None
    try:
        with torch.random.fork_rng(devices=devices, device_type=kind):
            reseed(device, seed)
            random.seed(seed)
            if numpy:
                numpy.random.seed(seed % 2**32)
            yield
    finally:
        random.setstate(python)
        if numpy:
            numpy.random.set_state(more)


def reseed(device: torch.device, seed: int) -> None:
    """Seed torch's generators that layers on `device` use; unlike `torch.manual_seed`, leave other devices' alone."""
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        module = torch.get_device_module(device)
        with module.device(device):
            module.manual_seed(seed)


def drawn_seed(generator: torch.Generator) -> int:
    """A seed that is drawn from `generator`."""
    return int(torch.randint(2**62, (), generator=generator, device=generator.device))
