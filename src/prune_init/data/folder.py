"""ImageNet, and any images in one folder per class."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from prune_init.data.dataset import Dataset
from prune_init.data.files import FileImages
from prune_init.data.source import looked_for
from prune_init.errors import InputError, MissingDataError

if TYPE_CHECKING:
    from torchvision.datasets import ImageFolder  # seconds to import: only when there is a folder to look into

LAYOUT = "{root}/train/<class>/* and {root}/val/<class>/*"
IMAGENET = (
    "needs an account at https://image-net.org and cannot be fetched from here; put the images of"
    " ILSVRC2012 by hand into " + LAYOUT
)

Shape = tuple[int, int, int]
Samples = list[tuple[str, int]]


def look(*, root: str, **_: object) -> None:
    """Raise the MissingDataError of `folder` without listing images."""
    for part in ("train", "val"):
        _look_for_part(Path(root), part)


def look_for_imagenet(*, root: str, **_: object) -> None:
    """The same, for `imagenet`."""
    if not Path(root).is_dir():
        raise MissingDataError("dataset.root", root, f"ImageNet is not there; it {IMAGENET.format(root=root)}")
    look(root=root)


@looked_for(look_for_imagenet)
def imagenet(*, root: str, workers: int, num_classes: int, input_shape: Shape) -> Dataset:
    """ImageNet with the published augmentation; arguments and errors as for `folder`."""
    look_for_imagenet(root=root)
    return folder(root=root, workers=workers, num_classes=num_classes, input_shape=input_shape)


@looked_for(look)
def folder(*, root: str, workers: int, num_classes: int, input_shape: Shape) -> Dataset:
    """Images in one folder per class, with ImageNet's published augmentation and normalisation.

    Args:
        root: a folder with `train` and `val`, each of one folder per class; `val` is what is tested on, and may
            lack some of them.
        workers: processes that decode; 0 decodes in the main process.
        num_classes: number of class folders.
        input_shape: (3, size, size) that images are cut to.

    Raises:
        MissingDataError: if the folders are not there.
        InputError: if `train` does not hold `num_classes` classes with an image in each, or `val` other ones.
    """
    size = input_shape[1]
    train, test = (
        FileImages([path for path, _ in part], torch.tensor([label for _, label in part]), size, workers)
        for part in scan_both(Path(root), num_classes)
    )
    return Dataset(train, test, num_classes, input_shape)


def scan_both(root: Path, num_classes: int) -> tuple[Samples, Samples]:
    """Lists the images of `train` and of `val`, with the number of their class; errors as for `folder`."""
    from torchvision.datasets.folder import IMG_EXTENSIONS, make_dataset

    train, val = scan(root, "train", num_classes), root / "val"
    _look_for_part(root, "val")
    unknown = {path.name for path in val.iterdir() if path.is_dir()} - train.class_to_idx.keys()
    if unknown:
        raise InputError("dataset.root", root, f"val has a class folder that train has not: {min(unknown)}")
    test = make_dataset(str(val), train.class_to_idx, IMG_EXTENSIONS, allow_empty=True)
    if not test:
        raise InputError("dataset.root", root, "val has no image; allowed: " + ", ".join(IMG_EXTENSIONS))
    return train.samples, test


def scan(root: Path, part: str, num_classes: int) -> "ImageFolder":
    """Lists the images of one part; errors as for `folder`."""
    _look_for_part(root, part)
    from torchvision.datasets import ImageFolder

    try:
        found = ImageFolder(str(root / part))
    except FileNotFoundError as error:  # no class folder, or one without an image
        raise InputError("dataset.root", root, str(error).splitlines()[0]) from error
    if len(found.classes) != num_classes:
        folders = f"{root / part} has {len(found.classes)} class folders"
        raise InputError("dataset.num_classes", num_classes, folders)
    return found


def _look_for_part(root: Path, part: str) -> None:
    if not (root / part).is_dir():
        layout = LAYOUT.format(root=root)
        raise MissingDataError("dataset.root", root, f"has no folder {part}; expected {layout}")
