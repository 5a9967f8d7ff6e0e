"""The interface between a data set and its images, wherever these are stored."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Self

import torch
from torch import Tensor

from prune_init.data.sampler import Sampler

Batch = tuple[Tensor, Tensor]
"""Normalised float32 images [B, C, H, W] and int64 labels [B], on one device."""

Channels = tuple[float, ...]


def normalisation(mean: Channels, std: Channels, device: torch.device | str) -> Callable[[Tensor], Tensor]:
    """A function that normalises bytes [B, C, H, W] on `device`, with statistics of each channel for pixels in 0..1.

    The operations are those of torchvision's ToTensor and Normalize in the same order, equal to the last bit on every
    device. For this, 255 is a tensor on the device: to divide by a CPU scalar, a GPU multiplies by its reciprocal,
    which rounds differently.
    """
    white, centre, scale = (torch.tensor(values, device=device).view(-1, 1, 1) for values in ((255.0,), mean, std))
    return lambda pixels: pixels.float().div_(white).sub_(centre).div_(scale)


class Loader(ABC):
    """Yields the batches of one epoch each time it is iterated.

    Attributes:
        sampler: decides which images are in each batch. Lightning finds it by this name and sets its epoch.
    """

    batch_sampler = None  # Lightning reads this attribute too if there is a `sampler`

    def __init__(self, sampler: Sampler) -> None:
        self.sampler = sampler

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, counted from 0: order and augmentation depend only on it and the seed."""
        self.sampler.set_epoch(epoch)

    def __len__(self) -> int:
        """Number of batches, the same on every rank."""
        return len(self.sampler)

    @abstractmethod
    def __iter__(self) -> Iterator[Batch]:
        """The batches of the chosen epoch."""


class Images(ABC):
    """Labelled images of one shape.

    Attributes:
        labels: int64 [N] on the CPU.
        shape: (C, H, W) of each image as the network receives it.
    """

    labels: Tensor

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """(C, H, W)."""

    @abstractmethod
    def select(self, indices: Tensor) -> Self:
        """The images at `indices` (int64), in that order."""

    @abstractmethod
    def loader(self, sampler: Sampler, *, device: torch.device | str, augment: int | None) -> Loader:
        """The batches that `sampler` describes.

        Args:
            sampler: divides `len(labels)` images into batches.
            device: where the batches are placed.
            augment: the seed of the augmentation; None for images without augmentation.
        """

    def __len__(self) -> int:
        return len(self.labels)
