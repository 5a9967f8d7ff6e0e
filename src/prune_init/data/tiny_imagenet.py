"""Tiny-ImageNet: images of 64x64 pixels in 200 classes, decoded once into memory."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from prune_init.data.arrays import ArrayImages
from prune_init.data.augmentation import CropFlip
from prune_init.data.dataset import Dataset
from prune_init.data.folder import read_image, scan, scan_both
from prune_init.data.source import looked_for
from prune_init.data.sources import TINY_IMAGENET
from prune_init.errors import InputError

MEAN, STD = (0.480, 0.448, 0.397), (0.276, 0.269, 0.282)


@looked_for(TINY_IMAGENET.look)
def tiny_imagenet(*, root: str, download: bool, num_classes: int, input_shape: tuple[int, int, int]) -> Dataset:
    """Tiny-ImageNet with the published normalisation, crops and flips; tests use its validation images.

    Two layouts can be read: the official one, with `val/images` and `val/val_annotations.txt`, and one with a
    folder per class under `val`.

    Args:
        root: the folder of all data sets.
        download: fetch the files if they are missing.
        num_classes: 200; the configuration states it, since architectures need it.
        input_shape: (3, 64, 64); likewise.

    Raises:
        MissingDataError: if the files are missing.
        InputError: if they are not as described.
    """
    folder = TINY_IMAGENET.locate(root, download=download)
    if (folder / "val/images").is_dir():
        found = scan(folder, num_classes)
        train, test = found.samples, _annotated(folder / "val", found.class_to_idx)
    else:
        train, test = scan_both(folder, num_classes)
    return Dataset(_decode(train, input_shape), _decode(test, input_shape), num_classes, input_shape)


def _annotated(val: Path, classes: dict[str, int]) -> list[tuple[str, int]]:
    """The validation images in `val/images`, each with the class index that training images have."""
    notes = val / "val_annotations.txt"
    if not notes.is_file():
        raise InputError("dataset.root", notes, "is missing: it names the classes of the images in val/images")
    # File name, class and bounding box, separated by tabs.
    fields = [line.split("\t") for line in notes.read_text().splitlines()]
    unknown = {wnid for _, wnid, *_ in fields} - classes.keys()
    if unknown:
        raise InputError("dataset.root", val / "images", f"has images of classes not in train: {min(unknown)}")
    return [(str(val / "images" / name), classes[wnid]) for name, wnid, *_ in fields]


def _decode(samples: list[tuple[str, int]], shape: tuple[int, int, int]) -> ArrayImages:
    """Decode all images, in threads, because decoding releases the interpreter lock."""
    _, height, width = shape
    pixels = np.empty((len(samples), height, width, 3), np.uint8)

    def decode(index: int) -> None:
        image = read_image(samples[index][0])
        if image.size != (width, height):
            raise InputError("dataset.root", samples[index][0], f"is {image.size}, not {width}x{height}")
        pixels[index] = np.asarray(image)

    with ThreadPoolExecutor() as pool:
        list(pool.map(decode, range(len(samples))))  # the list raises the threads' errors
    return ArrayImages(
        pixels=torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(),
        labels=torch.tensor([label for _, label in samples]),
        mean=MEAN,
        std=STD,
        augmentation=CropFlip(padding=4),
    )
