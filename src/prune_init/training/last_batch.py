"""Checks for a last batch of one image, on which batch norm fails, before anything is scored or trained."""

import copy
from collections.abc import Sequence

import torch
from torch import nn

from prune_init.errors import InputError


def takes_one_image(net: nn.Module, shape: Sequence[int]) -> bool:
    """Whether `net` can be trained on a batch of one image, tried with a copy on the meta device.

    Batch norm fails if it gets one value per channel, as after the last pooling of many nets.
    """
    try:
        copy.deepcopy(net).to("meta").train()(torch.empty(1, *shape, device="meta"))
    except ValueError as error:
        return not str(error).startswith("Expected more than 1 value per channel")
    except (RuntimeError, NotImplementedError):
        pass  # an operation without a meta kernel: training will show it
    return True


def check_last_batch(net: nn.Module, shape: Sequence[int], *, images: int, batch_size: int, world: int) -> None:
    """Refuse a net that cannot be trained on the batch of one image that each process gets.

    Args:
        net: the network, in train or eval mode.
        shape: (C, H, W) of an image.
        images: number of training images.
        batch_size: batch size of the recipe, over all processes.
        world: number of processes.

    Raises:
        InputError: naming the batch size and what to choose instead.
    """
    if not takes_one_image(net, shape):
        whose = "" if world == 1 else f" in each of {world} processes"
        one = f"the last batch of {images:,} images has one image{whose}"
        remedy = "recipe.drop_last=true, or another size"
        if batch_size // world <= 1:
            one, remedy = f"batches have one image{whose}", "larger ones"
        raise InputError("recipe.batch_size", batch_size, f"{one}, which batch norm cannot take; allowed: {remedy}")


def check_sample(net: nn.Module, shape: Sequence[int], *, images: int, batch_size: int) -> None:
    """Refuse a net that cannot be scored in train mode on a last batch of one image of the pruning sample.

    Raises:
        InputError: naming the batch size and what to choose instead.
    """
    left_over = images % batch_size or min(images, batch_size)
    if left_over == 1 and not takes_one_image(net, shape):
        why = f"the last batch of {images:,} images has one image, which batch norm cannot take in train mode"
        raise InputError("sample.batch_size", batch_size, f"{why}; allowed: another size")
