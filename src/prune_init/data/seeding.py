"""Independent random streams from one seed."""

import numpy as np
import torch

from prune_init.errors import InputError


def generator(seed: int, stream: str, epoch: int = 0) -> torch.Generator:
    """A CPU generator whose stream depends only on the arguments and differs for different arguments.

    Adding the numbers (`seed + epoch`) would give seed 0 in epoch 1 the order of seed 1 in epoch 0.

    Args:
        seed: the run's seed, 0 or larger.
        stream: the purpose of the random numbers, such as "order".
        epoch: counted from 0.

    Raises:
        InputError: if the seed is negative.
    """
    if seed < 0:
        raise InputError("seed", seed, "needs a whole number of at least 0")
    key = (int.from_bytes(stream.encode(), "big"), epoch)
    state = np.random.SeedSequence(seed, spawn_key=key).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))
