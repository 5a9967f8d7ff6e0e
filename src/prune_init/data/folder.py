"""ImageNet, and any other images that are stored in one folder per class."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from PIL import Image
from torch import Tensor

from prune_init.data.dataset import Dataset
from prune_init.data.examples import Examples
from prune_init.data.source import looked_for
from prune_init.errors import InputError, MissingDataError

if TYPE_CHECKING:  # takes seconds to import, so only when there is a folder to read
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

LAYOUT = "{root}/train/<class>/* and {root}/val/<class>/*"
IMAGENET = (
    "needs an account at https://image-net.org and cannot be fetched from here; put the images of"
    " ILSVRC2012 by hand into " + LAYOUT
)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's published statistics of each channel, for pixels scaled to 0..1."""

Shape = tuple[int, int, int]
Samples = list[tuple[str, int]]


def look(*, root: str, **_: object) -> None:
    """Raise the MissingDataError that `folder` would raise, without listing images."""
    for part in ("train", "val"):
        if not (Path(root) / part).is_dir():
            layout = LAYOUT.format(root=root)
            raise MissingDataError("dataset.root", root, f"has no folder {part}; expected {layout}")


def look_for_imagenet(*, root: str, **_: object) -> None:
    """Raise the MissingDataError that `imagenet` would raise, without listing images."""
    if not Path(root).is_dir():
        raise MissingDataError("dataset.root", root, f"ImageNet is not there; it {IMAGENET.format(root=root)}")
    look(root=root)


@looked_for(look_for_imagenet)
def imagenet(*, root: str, workers: int, num_classes: int, input_shape: Shape) -> Dataset:
    """ImageNet with the published augmentation and normalisation; arguments and errors as for `folder`."""
    look_for_imagenet(root=root)
    return folder(root=root, workers=workers, num_classes=num_classes, input_shape=input_shape)


@looked_for(look)
def folder(*, root: str, workers: int, num_classes: int, input_shape: Shape) -> Dataset:
    """Images in one folder per class, with ImageNet's published augmentation and normalisation.

    Args:
        root: a folder that contains `train` and `val`, each with one folder per class. Tests use `val`, which may
            lack some classes.
        workers: number of processes that decode images; 0 decodes in the main process.
        num_classes: number of class folders.
        input_shape: (3, size, size), to which images are cropped.

    Raises:
        MissingDataError: if `train` or `val` does not exist.
        InputError: if `train` does not hold `num_classes` classes with images, or `val` has no image or other classes.
    """
    testing, training = transforms(input_shape[1])
    train, test = (
        Examples(
            plain=partial(_read, part, testing),
            augmented=partial(_read, part, training),
            indices=torch.arange(len(part)),
            labels=torch.tensor([label for _, label in part]),
            workers=workers,
            statistics=(MEAN, STD),
        )
        for part in scan_both(Path(root), num_classes)
    )
    return Dataset(train, test, num_classes, input_shape)


def transforms(size: int) -> "tuple[v2.Compose, v2.Compose]":
    """The published preparation of ImageNet's images, for tests and for training.

    Tests use the central 224x224 pixels of an image whose shorter side is resized to 256; other sizes keep that ratio.
    """
    from torchvision.transforms import v2

    testing = [v2.Resize(size * 256 // 224), v2.CenterCrop(size)]
    training = [
        v2.RandomResizedCrop(size, scale=(0.2, 1.0)),
        v2.RandomGrayscale(0.2),
        v2.ColorJitter(0.4, 0.4, 0.4, 0.4),
        v2.RandomHorizontalFlip(),
    ]
    return v2.Compose([*testing, v2.PILToTensor()]), v2.Compose([*training, v2.PILToTensor()])


def _read(samples: Samples, transform: "v2.Compose", index: int) -> Tensor:
    image: Tensor = transform(read_image(samples[index][0]))
    return image


def read_image(path: str) -> Image.Image:
    """Read an image file as RGB.

    Raises:
        InputError: if it cannot be decoded; the message names the file.
    """
    try:
        with Image.open(path) as image:
            if image.mode.startswith(("I", "F")):  # PIL would cut their numbers off at 255
                raise InputError("dataset.root", path, f"has {image.mode} pixels; allowed: 8 bits for each channel")
            return image.convert("RGB")
    except OSError as error:
        raise InputError("dataset.root", path, f"cannot be read as an image: {error}") from error


def scan_both(root: Path, num_classes: int) -> tuple[Samples, Samples]:
    """List the images of `train` and of `val` with their class indices; errors as for `folder`."""
    train, val = scan(root, num_classes), root / "val"
    from torchvision.datasets.folder import IMG_EXTENSIONS, make_dataset

    unknown = {path.name for path in val.iterdir() if path.is_dir()} - train.class_to_idx.keys()
    if unknown:
        raise InputError("dataset.root", root, f"val has a class folder that train lacks: {min(unknown)}")
    test = make_dataset(str(val), train.class_to_idx, IMG_EXTENSIONS, allow_empty=True)
    if not test:
        raise InputError("dataset.root", root, "val has no image; allowed: " + ", ".join(IMG_EXTENSIONS))
    return train.samples, test


def scan(root: Path, num_classes: int) -> "ImageFolder":
    """List the images of `train`, and check that `val` exists beside it; errors as for `folder`."""
    look(root=str(root))
    from torchvision.datasets import ImageFolder

    try:
        found = ImageFolder(str(root / "train"))
    except FileNotFoundError as error:  # no class folder, or one without an image
        raise InputError("dataset.root", root, str(error).splitlines()[0]) from error
    if len(found.classes) != num_classes:
        folders = f"{root / 'train'} has {len(found.classes)} class folders"
        raise InputError("dataset.num_classes", num_classes, folders)
    return found
