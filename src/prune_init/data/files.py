"""Images that do not fit in memory: read, decoded and augmented one by one, in worker processes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

from prune_init.data.images import Batch, Images, Loader, normalised
from prune_init.data.sampler import Sampler
from prune_init.data.seeding import generator
from prune_init.errors import InputError
from prune_init.host import cores

if TYPE_CHECKING:
    from torchvision.transforms import v2  # seconds to import: only when images are read

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's, of pixels scaled to 0..1, as published."""


def read_image(path: str) -> Image.Image:
    """An image file as RGB.

    Raises:
        InputError: if it cannot be decoded; the message names the file.
    """
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except OSError as error:
        raise InputError("dataset.root", path, f"cannot be read as an image: {error}") from error


@dataclass(frozen=True, eq=False)
class FileImages(Images):
    """Images in files of any size and format.

    Attributes:
        paths: of the files [N].
        labels: int64 [N].
        size: pixels of the square a network sees.
        workers: processes that decode, no more than there are cores; 0 decodes in the main process.
    """

    paths: list[str]
    labels: Tensor
    size: int
    workers: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """(3, size, size)."""
        return 3, self.size, self.size

    def select(self, indices: Tensor) -> Self:
        """The files at `indices`."""
        paths = [self.paths[index] for index in indices.tolist()]
        return replace(self, paths=paths, labels=self.labels[indices])

    def loader(self, sampler: Sampler, *, device: torch.device | str, augment: int | None) -> Loader:
        """See `Images.loader`."""
        return FileLoader(self, sampler, device=torch.device(device), augment=augment)


class FileLoader(Loader):
    """Batches from worker processes, normalised on the device.

    Each image is augmented by a seed of its own, drawn from the seed and the epoch: neither the number of
    workers nor the batch it is in changes it.
    """

    def __init__(self, images: FileImages, sampler: Sampler, *, device: torch.device, augment: int | None) -> None:
        super().__init__(sampler)
        self._device = device
        self._batches = read_by(_Decoded(images, augment is not None), Seeded(sampler, augment), images.workers, device)

    def __iter__(self) -> Iterator[Batch]:
        mean, std = (torch.tensor(values, device=self._device).view(-1, 1, 1) for values in (MEAN, STD))
        for pixels, labels in self._batches:
            pixels = pixels.to(self._device, non_blocking=True).float()
            yield normalised(pixels, mean, std), labels.to(self._device, non_blocking=True)


def read_by(
    read: Any, batches: "Seeded", workers: int, device: torch.device, together: Callable[[Any], Batch] | None = None
) -> DataLoader[Batch]:
    """Torch's loader of examples that are read one by one, in this process or in at most as many as there are cores.

    Args:
        read: `read[number, seed]` is an example with its label.
        batches: lists of such pairs.
        workers: processes; 0 reads in this one.
        device: where the batches go.
        together: makes a batch of a list of examples; None: as torch does.
    """
    return DataLoader(
        read,
        batch_sampler=batches,
        collate_fn=together,
        num_workers=(workers := min(workers, cores())),
        persistent_workers=workers > 0,
        pin_memory=device.type == "cuda",
        generator=torch.Generator(),  # else each epoch would draw from the global one
    )


class Seeded:
    """The sampler's batches as lists of (image, seed of its augmentation)."""

    def __init__(self, sampler: Sampler, seed: int | None) -> None:
        self._sampler, self._seed = sampler, seed

    def __len__(self) -> int:
        return len(self._sampler)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        random = generator(self._seed or 0, "augmentation", self._sampler.epoch)
        seeds = torch.randint(2**62, (self._sampler.count,), generator=random)
        for batch in self._sampler.batches():
            yield list(zip(batch.tolist(), seeds[batch].tolist(), strict=True))


class _Decoded:
    """Decodes one image: uint8 [3, size, size], and its label."""

    def __init__(self, images: FileImages, augment: bool) -> None:
        self._images, self._augment = images, augment
        self._transform = training(images.size) if augment else testing(images.size)

    def __getitem__(self, item: tuple[int, int]) -> tuple[Tensor, Tensor]:
        index, seed = item
        image = read_image(self._images.paths[index])
        with seeded(seed):
            return self._transform(image), self._images.labels[index]


def training(size: int) -> "v2.Compose":
    """The published augmentation for ImageNet."""
    from torchvision.transforms import v2

    return v2.Compose(
        [
            v2.RandomResizedCrop(size, scale=(0.2, 1.0)),
            v2.RandomGrayscale(0.2),
            v2.ColorJitter(0.4, 0.4, 0.4, 0.4),
            v2.RandomHorizontalFlip(),
            v2.PILToTensor(),
        ]
    )


def testing(size: int) -> "v2.Compose":
    """The published preparation for testing: the shorter side to 256, the central 224 (or in that ratio)."""
    from torchvision.transforms import v2

    return v2.Compose([v2.Resize(size * 256 // 224), v2.CenterCrop(size), v2.PILToTensor()])


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seeds the random numbers torchvision's transforms draw, and restores the generator afterwards."""
    state = torch.default_generator.get_state()
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.default_generator.set_state(state)
