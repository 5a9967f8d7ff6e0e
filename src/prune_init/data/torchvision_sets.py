"""MNIST, Fashion-MNIST, CIFAR-10 and CIFAR-100, in the official layout that torchvision reads.

torchvision takes seconds to import, so it is imported only when there is something to read.
"""

from pathlib import Path

import torch

from prune_init.data.arrays import ArrayImages
from prune_init.data.augmentation import CropFlip
from prune_init.data.dataset import Dataset
from prune_init.data.fashion_small import MEAN, STD
from prune_init.data.images import Channels
from prune_init.data.source import Download, looked_for
from prune_init.data.sources import CIFAR10, CIFAR100, FASHION_MNIST, MNIST, of_idx

# torchvision checks the packed files when it fetches them, but never these unpacked ones.
MNIST_MD5 = of_idx(
    "6bbc9ace898e44ae57da46a324031adb",
    "a25bea736e30d166cdddb491f175f624",
    "2646ac647ad5339dbf082846283269ea",
    "27ae3e4e09519cfbb04c329615203637",
)
FASHION_MNIST_MD5 = of_idx(
    "f4a8712d7a061bf5bd6d2ca38dc4d50a",
    "9018921c3c673c538a1fc5bad174d6f9",
    "8181f5470baa50b63fa0f6fddb340f0a",
    "15d484375f8d13e6eb1aabb0c3f46965",
)

Shape = tuple[int, int, int]


@looked_for(MNIST.look)
def mnist(*, root: str, download: bool, num_classes: int, input_shape: Shape) -> Dataset:
    """MNIST, as published: no augmentation.

    Args:
        root: the folder of all data sets.
        download: fetch the files if they are missing.
        num_classes: 10; the configuration states it, since architectures need it.
        input_shape: (1, 28, 28); likewise.

    Raises:
        MissingDataError: if the files are missing.
        InputError: if a file is not the official one, or a stated number is wrong.
    """
    train, test = _idx(MNIST, MNIST_MD5, root, download, (0.1307,), (0.3081,))
    return Dataset(train, test, num_classes, input_shape)


@looked_for(FASHION_MNIST.look)
def fashion_mnist(*, root: str, download: bool, num_classes: int, input_shape: Shape) -> Dataset:
    """Fashion-MNIST, without augmentation; arguments and errors as for `mnist`."""
    train, test = _idx(FASHION_MNIST, FASHION_MNIST_MD5, root, download, MEAN, STD)
    return Dataset(train, test, num_classes, input_shape)


@looked_for(CIFAR10.look)
def cifar10(*, root: str, download: bool, num_classes: int, input_shape: Shape) -> Dataset:
    """CIFAR-10 with the published normalisation, crops and flips; arguments and errors as for `mnist`."""
    mean, std = (0.491, 0.482, 0.447), (0.247, 0.243, 0.262)
    train, test = _cifar(CIFAR10, "CIFAR10", root, download, mean, std)
    return Dataset(train, test, num_classes, input_shape)


@looked_for(CIFAR100.look)
def cifar100(*, root: str, download: bool, num_classes: int, input_shape: Shape) -> Dataset:
    """CIFAR-100 with the published normalisation, crops and flips; arguments and errors as for `mnist`."""
    mean, std = (0.507, 0.487, 0.441), (0.267, 0.256, 0.276)
    train, test = _cifar(CIFAR100, "CIFAR100", root, download, mean, std)
    return Dataset(train, test, num_classes, input_shape)


def _idx(
    source: Download, md5: dict[str, str], root: str, download: bool, mean: Channels, std: Channels
) -> list[ArrayImages]:
    """Training and test images from files in the idx format."""
    folder = source.locate(root, download=download)
    source.verify(root, md5)
    from torchvision.datasets.mnist import read_image_file, read_label_file

    return [
        ArrayImages(
            pixels=read_image_file(str(folder / f"{part}-images-idx3-ubyte"))[:, None],
            labels=read_label_file(str(folder / f"{part}-labels-idx1-ubyte")),
            mean=mean,
            std=std,
        )
        for part in ("train", "t10k")
    ]


def _cifar(source: Download, name: str, root: str, download: bool, mean: Channels, std: Channels) -> list[ArrayImages]:
    """Training and test images from pickles, which torchvision reads only if their checksums are right."""
    source.locate(root, download=download)
    from torchvision import datasets

    kind = getattr(datasets, name)
    try:
        parts = [kind(Path(root), train=train) for train in (True, False)]
    except RuntimeError:
        # torchvision does not say which file is wrong.
        source.verify(root, dict([*kind.train_list, *kind.test_list, (kind.meta["filename"], kind.meta["md5"])]))
        raise
    return [
        ArrayImages(
            pixels=torch.from_numpy(part.data).permute(0, 3, 1, 2).contiguous(),
            labels=torch.tensor(part.targets),
            mean=mean,
            std=std,
            augmentation=CropFlip(padding=4),
        )
        for part in parts
    ]
