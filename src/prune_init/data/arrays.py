"""Images that fit in memory: kept as bytes on the device, augmented and normalised in whole batches."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from prune_init.data.augmentation import CropFlip
from prune_init.data.images import Batch, Channels, Images, Loader, normalisation
from prune_init.data.sampler import Sampler
from prune_init.data.seeding import generator


@dataclass(frozen=True, eq=False)
class ArrayImages(Images):
    """Images in one tensor.

    Attributes:
        pixels: uint8 [N, C, H, W].
        labels: int64 [N].
        mean: of each channel, for pixels scaled to 0..1.
        std: standard deviation of each channel, likewise.
        augmentation: applied in training; None for none.
    """

    pixels: Tensor
    labels: Tensor
    mean: Channels
    std: Channels
    augmentation: CropFlip | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        _, channels, height, width = self.pixels.shape
        return channels, height, width

    def select(self, indices: Tensor) -> Self:
        """The images at `indices`, copied."""
        return replace(self, pixels=self.pixels[indices], labels=self.labels[indices])

    def loader(self, sampler: Sampler, *, device: torch.device | str, augment: int | None) -> Loader:
        """See `Images.loader`. All images are first copied to the device, unless they are there already."""
        return ArrayLoader(self, sampler, device=device, augment=augment)


class ArrayLoader(Loader):
    """Augments and normalises whole batches on the device, without a Python step per image.

    The augmentation of an image depends on the seed, the epoch and the image, but not on its batch: neither
    the batch size nor the number of processes changes it.
    """

    def __init__(
        self, images: ArrayImages, sampler: Sampler, *, device: torch.device | str, augment: int | None
    ) -> None:
        super().__init__(sampler)
        self._pixels = images.pixels.to(device)
        self._labels = images.labels.to(device)
        self._normalise = normalisation(images.mean, images.std, device)
        self._augmentation = images.augmentation
        self._seed = augment

    def __iter__(self) -> Iterator[Batch]:
        draws = self._draws()
        for batch in self.sampler.batches(self._pixels.device):
            pixels = self._pixels[batch]
            if self._augmentation is not None and draws is not None:
                pixels = self._augmentation(pixels, draws[batch])
            yield self._normalise(pixels), self._labels[batch]

    def _draws(self) -> Tensor | None:
        """The augmentation of every image in this epoch; None for plain images."""
        if self._augmentation is None or self._seed is None:
            return None
        random = generator(self._seed, "augmentation", self.sampler.epoch)
        return self._augmentation.draw(len(self._labels), random).to(self._pixels.device)
