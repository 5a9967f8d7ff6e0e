"""Make src/prune_init/data/fashion_small.npz from the official files of Fashion-MNIST.

    python scripts/make_fashion_small.py FOLDER

FOLDER contains the four official files, such as train-images-idx3-ubyte.gz, from
https://github.com/zalandoresearch/fashion-mnist. The arrays are the same each time.
"""

import argparse
import gzip
from hashlib import md5, sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

TARGET = Path(__file__).parent.parent / "src/prune_init/data/fashion_small.npz"
PER_CLASS = {"train": 500, "test": 100}
OFFICIAL = {  # name, md5 of the uncompressed file, bytes before the data
    "train_images": ("train-images-idx3-ubyte.gz", "f4a8712d7a061bf5bd6d2ca38dc4d50a", 16),
    "train_labels": ("train-labels-idx1-ubyte.gz", "9018921c3c673c538a1fc5bad174d6f9", 8),
    "test_images": ("t10k-images-idx3-ubyte.gz", "8181f5470baa50b63fa0f6fddb340f0a", 16),
    "test_labels": ("t10k-labels-idx1-ubyte.gz", "15d484375f8d13e6eb1aabb0c3f46965", 8),
}


def read(folder: Path, key: str) -> NDArray[np.uint8]:
    """The bytes of one official file after its header; ends the program if the file is not the official one."""
    name, checksum, header = OFFICIAL[key]
    content = gzip.decompress((folder / name).read_bytes())
    if md5(content).hexdigest() != checksum:
        raise SystemExit(f"{folder / name} is not the official file: its content's md5 is not {checksum}")
    return np.frombuffer(content, np.uint8, offset=header)


def choose(labels: NDArray[np.uint8], per_class: int) -> list[int]:
    """Indices of `per_class` images of each class, in ascending order.

    The images whose index has the smallest hash are chosen. This is as good as random, and the same with every
    version of NumPy, whose random generators do not guarantee that.
    """
    order = sorted(range(len(labels)), key=lambda index: sha256(str(index).encode()).digest())
    return sorted(index for label in range(10) for index in [i for i in order if labels[i] == label][:per_class])


def main() -> None:
    """Read the images, choose some of them and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of the four official .gz files")
    parser.add_argument("--target", type=Path, default=TARGET, help="file to write")
    arguments = parser.parse_args()
    arrays: dict[str, Any] = {}
    for part, per_class in PER_CLASS.items():
        labels = read(arguments.folder, f"{part}_labels")
        chosen = choose(labels, per_class)
        arrays[f"{part}_images"] = read(arguments.folder, f"{part}_images").reshape(-1, 28, 28)[chosen]
        arrays[f"{part}_labels"] = labels[chosen]
    np.savez_compressed(arguments.target, **arrays)


if __name__ == "__main__":
    main()
