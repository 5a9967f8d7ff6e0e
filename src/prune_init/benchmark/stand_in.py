"""Images to time a run with: the data set's own or, if its files are missing, noise of the same shape."""

from dataclasses import replace
from typing import NamedTuple

import torch
from omegaconf import DictConfig

from prune_init.command import building
from prune_init.data.arrays import ArrayImages
from prune_init.data.augmentation import CropFlip
from prune_init.data.dataset import Dataset
from prune_init.data.images import Images
from prune_init.errors import MissingDataError

SIZES = {
    "mnist": (60_000, 10_000),
    "fashion_mnist": (60_000, 10_000),
    "cifar10": (50_000, 10_000),
    "cifar100": (50_000, 10_000),
    "tiny_imagenet": (100_000, 10_000),
    "imagenet": (1_281_167, 50_000),
}
"""Published numbers of training and test images of the data sets whose files must be fetched."""

AUGMENTED = ("cifar10", "cifar100", "tiny_imagenet")
"""Data sets whose training images are cropped and flipped in memory."""


class Source(NamedTuple):
    """A data set to draw images from, and the numbers of images of the real one; `real` is False for noise."""

    dataset: Dataset
    train: int
    test: int
    real: bool


def source(cfg: DictConfig) -> Source:
    """Load the data set of `cfg`, or make a stand-in of noise; no validation images are held out.

    Raises:
        InputError: the files cannot be read, or they are missing and the data set is not in `SIZES`.
    """
    try:
        real: Dataset = building.build(cfg.dataset)
        return Source(real, len(real.train), len(real.test), True)
    except MissingDataError:
        if cfg.dataset.name not in SIZES:
            raise
    return Source(_noise(cfg), *SIZES[cfg.dataset.name], False)


def shortened(dataset: Dataset, train: int, test: int) -> Dataset:
    """Select images, evenly spaced so that a sorted data set keeps its last class; noise is repeated."""
    return replace(dataset, train=_some(dataset.train, train), test=_some(dataset.test, test))


def _some(images: Images, count: int) -> Images:
    return images.select(torch.linspace(0, len(images) - 1, count).round().long())


def _noise(cfg: DictConfig) -> Dataset:
    """Noise images: as many of each class as the pruning sample takes, and at least 256 for training and testing."""
    classes, shape = cfg.dataset.num_classes, tuple(cfg.dataset.input_shape)
    labels = torch.arange(classes).repeat(max(cfg.sample.per_class, -(-256 // classes)))
    pixels = torch.randint(256, (len(labels), *shape), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    middle = (0.5,) * shape[0]
    augmentation = CropFlip() if cfg.dataset.name in AUGMENTED else None
    images = ArrayImages(pixels, labels, middle, middle, augmentation)
    return Dataset(images, images, classes, shape)
