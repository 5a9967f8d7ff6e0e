"""Small data sets in the official layouts, and fetching them; no test needs a network connection."""

import gzip
import hashlib
import pickle
import struct
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision import datasets

from prune_init.data import Dataset, download, sources, tiny_imagenet, torchvision_sets
from prune_init.data.arrays import ArrayImages
from prune_init.data.augmentation import CropFlip
from prune_init.data.fetch import unpack
from prune_init.data.folder import folder, imagenet
from prune_init.errors import InputError, MissingDataError


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def idx(array: np.ndarray) -> bytes:
    """An array of bytes in the idx format."""
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def cifar100(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three training images and two test images of each class, in the official layout of CIFAR-100."""
    base = tmp_path / "cifar-100-python"
    base.mkdir()
    lists = {}
    for part, count in (("train", 300), ("test", 200)):
        labels = [i % 100 for i in range(count)]
        data = np.repeat(np.arange(count) % 256, 3072).astype(np.uint8).reshape(count, 3072)
        data[:, 1024 + 2 * 32 + 3] = 7  # row 2, column 3 of the green plane
        content = pickle.dumps({"data": data, "fine_labels": labels, "coarse_labels": [0] * count})
        (base / part).write_bytes(content)
        lists[part] = [[part, md5(content)]]
    meta = pickle.dumps({"fine_label_names": [str(i) for i in range(100)]})
    (base / "meta").write_bytes(meta)
    monkeypatch.setattr(datasets.CIFAR100, "train_list", lists["train"])
    monkeypatch.setattr(datasets.CIFAR100, "test_list", lists["test"])
    monkeypatch.setattr(datasets.CIFAR100, "meta", {"filename": "meta", "key": "fine_label_names", "md5": md5(meta)})
    return tmp_path


def load_cifar100(root: Path) -> Dataset:
    return torchvision_sets.cifar100(root=str(root), download=False, num_classes=100, input_shape=(3, 32, 32))


def test_cifar100_is_read_from_its_official_layout(cifar100: Path) -> None:
    data = load_cifar100(cifar100)
    assert len(data.train) == 300 and len(data.test) == 200
    x, y = next(iter(data.test_loader(200, device="cpu")))
    assert y.tolist() == [i % 100 for i in range(200)]
    pixel = (x[30, :, 2, 3] * torch.tensor([0.267, 0.256, 0.276]) + torch.tensor([0.507, 0.487, 0.441])) * 255
    torch.testing.assert_close(pixel, torch.tensor([30.0, 7.0, 30.0]))
    assert isinstance(data.train, ArrayImages) and data.train.augmentation == CropFlip(4, flip=True)


@pytest.mark.parametrize("name", ["train", "test", "meta"])
def test_a_corrupt_or_missing_file_is_named_and_kept(cifar100: Path, name: str) -> None:
    path = cifar100 / "cifar-100-python" / name
    path.write_bytes(b"not a pickle")
    with pytest.raises(InputError, match=f"{name} is not the official file") as error:
        load_cifar100(cifar100)
    assert "\n" not in str(error.value) and path.read_bytes() == b"not a pickle"
    path.unlink()
    with pytest.raises(InputError, match=f"{name} is missing.*prune_init download cifar100"):
        load_cifar100(cifar100)


@pytest.fixture
def mnist_files() -> dict[str, bytes]:
    """Four gzipped files in the idx format: 20 training and 10 test images."""
    raw = {}
    for part, count in (("train", 20), ("t10k", 10)):
        images = np.repeat(np.arange(count, dtype=np.uint8), 784).reshape(count, 28, 28)
        raw[f"{part}-images-idx3-ubyte"] = idx(images)
        raw[f"{part}-labels-idx1-ubyte"] = idx((np.arange(count) % 10).astype(np.uint8))
    return raw


def test_mnist_is_fetched_checked_and_read(
    tmp_path: Path, mnist_files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site"
    site.mkdir()
    archives = {}
    for name, content in mnist_files.items():
        packed = gzip.compress(content)
        (site / f"{name}.gz").write_bytes(packed)
        archives[f"{name}.gz"] = md5(packed)
    source = replace(torchvision_sets.MNIST, url=site.as_uri() + "/", archives=archives)
    monkeypatch.setattr(torchvision_sets, "MNIST", source)
    monkeypatch.setattr(torchvision_sets, "MNIST_MD5", {name: md5(content) for name, content in mnist_files.items()})
    root = tmp_path / "data"
    data = torchvision_sets.mnist(root=str(root), download=True, num_classes=10, input_shape=(1, 28, 28))
    assert len(data.train) == 20
    ((x, y),) = data.test_loader(10, device="cpu")
    torch.testing.assert_close((x[7] * 0.3081 + 0.1307) * 255, torch.full((1, 28, 28), 7.0))
    assert y.tolist() == list(range(10))
    assert sorted(path.name for path in root.iterdir()) == ["MNIST"]
    (root / "MNIST/raw/t10k-images-idx3-ubyte").write_bytes(b"")
    with pytest.raises(InputError, match="t10k-images-idx3-ubyte is not the official file"):
        torchvision_sets.mnist(root=str(root), download=False, num_classes=10, input_shape=(1, 28, 28))


def picture(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (64, 64), mode: str = "RGB") -> None:
    """Write a JPEG image of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).convert(mode).save(path, "JPEG", quality=95)


WNIDS = ("n01443537", "n01629819", "n01641577")
COLOURS = ((200, 0, 0), (0, 200, 0), (0, 0, 200))


@pytest.fixture
def tiny_site(tmp_path: Path) -> str:
    """The URL of a folder with a zip in the official layout of Tiny-ImageNet: 3 classes of 4 + 2 images."""
    base = tmp_path / "raw/tiny-imagenet-200"
    notes = []
    for k, (wnid, colour) in enumerate(zip(WNIDS, COLOURS, strict=True)):
        for i in range(4):
            picture(base / f"train/{wnid}/images/{wnid}_{i}.JPEG", colour)
        (base / f"train/{wnid}/{wnid}_boxes.txt").write_text("")
        for i in range(2):  # file names are not in the order of the classes
            name = f"val_{3 * i + (2 - k)}.JPEG"
            picture(base / f"val/images/{name}", colour)
            notes.append(f"{name}\t{wnid}\t0\t32\t44\t62\n")
    (base / "val/val_annotations.txt").write_text("".join(notes))
    picture(base / "test/images/test_0.JPEG", (9, 9, 9))
    site = tmp_path / "site"
    site.mkdir()
    with zipfile.ZipFile(site / "tiny-imagenet-200.zip", "w") as packed:
        for path in sorted(base.parent.rglob("*")):
            packed.write(path, path.relative_to(base.parent))
    return site.as_uri() + "/"


@pytest.fixture
def tiny_md5(tiny_site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the zip of `tiny_site` count as the official one."""
    content = (Path(tiny_site.removeprefix("file://")) / "tiny-imagenet-200.zip").read_bytes()
    source = replace(tiny_imagenet.TINY_IMAGENET, archives={"tiny-imagenet-200.zip": md5(content)})
    monkeypatch.setitem(download.SOURCES, "tiny_imagenet", source)


def load_tiny(root: Path) -> Dataset:
    return tiny_imagenet.tiny_imagenet(root=str(root), download=False, num_classes=3, input_shape=(3, 64, 64))


def check_tiny(data: Dataset) -> None:
    """Check that each image has the colour of its class."""
    mean, std = torch.tensor([0.480, 0.448, 0.397]), torch.tensor([0.276, 0.269, 0.282])
    assert len(data.train) == 12 and len(data.test) == 6
    for loader in (
        data.test_loader(6, device="cpu"),
        data.train_loader(12, seed=0, device="cpu", augment=False),
    ):
        ((x, y),) = loader
        colours: Tensor = (x.mean((2, 3)) * std + mean) * 255
        assert torch.equal(colours.argmax(1), y)
        assert y.bincount().tolist() == [len(y) // 3] * 3
        assert (colours.amax(1) - 200).abs().max() < 3


@pytest.mark.usefixtures("tiny_md5")
def test_tiny_imagenet_is_fetched_and_read_in_either_layout(
    tiny_site: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "data"
    command = ["tiny_imagenet", "--root", str(root), "--url", tiny_site]
    download.main(command)
    base = root / "tiny-imagenet-200"
    assert capsys.readouterr().out == f"{base}\n"
    assert sorted(path.name for path in root.iterdir()) == ["tiny-imagenet-200"]
    check_tiny(load_tiny(root))
    with pytest.raises(SystemExit, match="is there already"):
        download.main(command)
    for line in (base / "val/val_annotations.txt").read_text().splitlines():  # to the layout of one folder per class
        name, wnid, *_ = line.split()
        (base / "val" / wnid).mkdir(exist_ok=True)
        (base / "val/images" / name).rename(base / "val" / wnid / name)
    (base / "val/images").rmdir()
    check_tiny(load_tiny(root))


def test_tiny_imagenet_names_a_broken_image(tiny_site: str, tmp_path: Path) -> None:
    assert tiny_site
    path = tmp_path / f"raw/tiny-imagenet-200/train/{WNIDS[1]}/images/{WNIDS[1]}_2.JPEG"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(InputError, match=f"{path.name}: cannot be read as an image"):
        load_tiny(tmp_path / "raw")
    picture(path, (1, 2, 3), size=(64, 32))
    with pytest.raises(InputError, match=r"is \(64, 32\), not 64x64"):
        load_tiny(tmp_path / "raw")


def test_what_is_wrong_with_the_folders_of_tiny_imagenet_is_told(tiny_site: str, tmp_path: Path) -> None:
    assert tiny_site
    base = tmp_path / "raw/tiny-imagenet-200"
    notes = base / "val/val_annotations.txt"
    notes.write_text(notes.read_text().replace(WNIDS[2], "n99999999"))
    with pytest.raises(InputError, match="has images of classes not in train: n99999999"):
        load_tiny(tmp_path / "raw")
    notes.unlink()
    with pytest.raises(InputError, match=r"val_annotations\.txt: is missing"):
        load_tiny(tmp_path / "raw")
    (base / "val/images").rename(base / "val/elsewhere")
    with pytest.raises(InputError, match="val has a class folder that train lacks: elsewhere"):
        load_tiny(tmp_path / "raw")


# --- folders of images


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two classes of 4 + 2 images of unusual sizes and modes, in the layout of ImageNet."""
    for part, count in (("train", 4), ("val", 2)):
        for label, wnid in enumerate(WNIDS[:2]):
            for i in range(count):
                size, mode = (50 + 9 * i, 80 - 7 * i), "L" if i == 1 else "RGB"
                picture(tmp_path / f"{part}/{wnid}/{i}.JPEG", COLOURS[label], size, mode)
    return tmp_path


def load_folder(root: Path, workers: int = 0, num_classes: int = 2) -> Dataset:
    return folder(root=str(root), workers=workers, num_classes=num_classes, input_shape=(3, 32, 32))


def test_a_folder_of_images_is_cut_to_size_and_normalised(pictures: Path) -> None:
    data = load_folder(pictures)
    ((x, y),) = data.test_loader(4, device="cpu")
    assert x.shape == (4, 3, 32, 32) and x.dtype == torch.float32 and y.tolist() == [0, 0, 1, 1]
    red = (x[0].mean((1, 2)) * torch.tensor([0.229, 0.224, 0.225]) + torch.tensor([0.485, 0.456, 0.406])) * 255
    torch.testing.assert_close(red, torch.tensor([200.0, 0.0, 0.0]), atol=3, rtol=0)
    assert x[1].std() < 2 and data.split(2, seed=0).validation is not None
    assert len(imagenet(root=str(pictures), workers=0, num_classes=2, input_shape=(3, 224, 224)).train) == 8


def test_images_in_files_are_a_function_of_seed_and_epoch_for_any_number_of_workers(pictures: Path) -> None:
    def epochs(workers: int, batch_size: int) -> list[Tensor]:
        loader = load_folder(pictures, workers).train_loader(batch_size, seed=1, device="cpu")
        seen = []
        for epoch in (1, 0):
            loader.set_epoch(epoch)
            seen.append(torch.cat([x for x, _ in loader]))
        return seen

    state = torch.random.get_rng_state()
    alone, together = epochs(0, 3), epochs(2, 8)
    assert torch.equal(state, torch.random.get_rng_state())
    assert torch.equal(alone[0], together[0]) and torch.equal(alone[1], together[1])
    assert not torch.equal(alone[0], alone[1])
    sample = load_folder(pictures).sample(3, seed=0, augment=True, batch_size=4)
    assert torch.cat([y for _, y in sample]).bincount().tolist() == [3, 3]


@pytest.mark.parametrize("lacking", [0, 1])
def test_a_test_set_may_lack_a_class(pictures: Path, lacking: int) -> None:
    for image in (pictures / f"val/{WNIDS[lacking]}").iterdir():
        image.unlink()
    (pictures / f"val/{WNIDS[lacking]}").rmdir()
    data = load_folder(pictures)
    ((_, labels),) = data.test_loader(4, device="cpu")
    assert data.num_classes == 2 and labels.tolist() == [1 - lacking] * 2  # class indices as in train
    assert sorted(data.train.labels.tolist()) == [0] * 4 + [1] * 4


def test_what_is_wrong_with_a_folder_is_told(pictures: Path) -> None:
    with pytest.raises(InputError, match=r"dataset\.num_classes=5: .*train has 2 class folders"):
        load_folder(pictures, num_classes=5)
    with pytest.raises(InputError, match="input_shape"):
        folder(root=str(pictures), workers=0, num_classes=2, input_shape=(1, 32, 32))
    (pictures / f"val/{WNIDS[0]}").rename(pictures / "val/other")
    with pytest.raises(InputError, match="val has a class folder that train lacks: other"):
        load_folder(pictures)
    (pictures / "train/empty").mkdir()
    with pytest.raises(InputError, match="empty"):
        load_folder(pictures, num_classes=3)
    (pictures / "val").rename(pictures / "test")
    with pytest.raises(MissingDataError, match=r"has no folder val; expected .*/val/<class>"):
        load_folder(pictures)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_image_is_told_in_one_line(pictures: Path, workers: int) -> None:
    (pictures / f"val/{WNIDS[0]}/0.JPEG").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"^dataset\.root=.*0\.JPEG: cannot be read as an image") as found:
        list(load_folder(pictures, workers).test_loader(4, device="cpu"))
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(("mode", "value"), [("I;16", 40_000), ("F", 0.5)])
def test_pixels_that_would_be_cut_off_are_refused(pictures: Path, mode: str, value: float) -> None:
    Image.new(mode, (40, 40), value).save(pictures / f"train/{WNIDS[0]}/deep.tiff")
    with pytest.raises(InputError, match=f"deep.tiff: has {mode} pixels; allowed: 8 bits for each channel"):
        list(load_folder(pictures).train_loader(4, seed=0, device="cpu"))


# --- missing data and failing downloads


@pytest.mark.parametrize(
    ("loader", "title", "place"),
    [
        (torchvision_sets.mnist, "MNIST", "MNIST/raw"),
        (torchvision_sets.fashion_mnist, "Fashion-MNIST", "FashionMNIST/raw"),
        (torchvision_sets.cifar10, "CIFAR-10", "cifar-10-batches-py"),
        (torchvision_sets.cifar100, "CIFAR-100", "cifar-100-python"),
        (tiny_imagenet.tiny_imagenet, "Tiny-ImageNet", "tiny-imagenet-200"),
    ],
)
def test_missing_data_is_told_in_one_line_with_the_command(loader, title: str, place: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(MissingDataError) as error:
        loader(root="nowhere", download=False, num_classes=10, input_shape=(3, 32, 32))
    assert str(error.value) == (
        f"dataset.root=nowhere: {title} is not in nowhere/{place}; fetch it with:"
        f" python -m prune_init download {loader.__name__} --root nowhere"
    )


def test_missing_imagenet_is_told_with_its_layout() -> None:
    with pytest.raises(MissingDataError, match=r"by hand into nowhere/train/<class>/\*") as error:
        imagenet(root="nowhere", workers=0, num_classes=1000, input_shape=(3, 224, 224))
    assert "\n" not in str(error.value)
    with pytest.raises(SystemExit, match=r"here/imagenet/val/<class>/\*"):
        download.main(["imagenet", "--root", "here"])


def test_a_wrong_checksum_leaves_nothing(tiny_site: str, tmp_path: Path) -> None:
    root = tmp_path / "data"
    with pytest.raises(SystemExit, match="90528d7ca1a48142e341f4ef8d21d0de") as told:
        download.main(["tiny_imagenet", "--root", str(root), "--url", tiny_site])
    assert "is not the official one" in str(told.value) and "\n" not in str(told.value) and not root.exists()


def test_without_a_network_one_line_and_no_traceback(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    url = "http://127.0.0.1:9/"  # nothing listens on the discard port
    with caplog.at_level("INFO"), pytest.raises(SystemExit) as told:
        download.main(["cifar10", "--root", str(tmp_path / "data"), "--url", url])
    assert not list(tmp_path.iterdir()) and caplog.messages == [f"fetching {url}cifar-10-python.tar.gz"]
    (line,) = str(told.value).splitlines()
    assert line.startswith(f"url={url}cifar-10-python.tar.gz: cannot be fetched: ")


@pytest.mark.parametrize("link", [False, True])
def test_members_that_leave_the_folder_are_refused(tmp_path: Path, link: bool) -> None:
    archive, inside = tmp_path / "bad.tar.gz", tmp_path / "inside"
    inside.mkdir()
    with tarfile.open(archive, "w:gz") as tar:
        member = tarfile.TarInfo("link" if link else "../outside.txt")
        member.type, member.linkname = (tarfile.SYMTYPE, "../..") if link else (b"0", "")
        tar.addfile(member)
    with pytest.raises(InputError, match=r"bad\."):
        unpack(archive, inside)
    assert list(inside.iterdir()) == [] and not (tmp_path / "outside.txt").exists()


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz", "a.gz"])
def test_a_damaged_archive_is_told_in_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"not packed at all")
    with pytest.raises(InputError, match=f"archive={name}: cannot be unpacked"):
        unpack(tmp_path / name, tmp_path)


def test_names_addresses_and_checksums_are_those_of_torchvision():
    for source, kind in ((sources.MNIST, datasets.MNIST), (sources.FASHION_MNIST, datasets.FashionMNIST)):
        assert (source.url, source.archives) == (kind.mirrors[0], dict(kind.resources))
    for source, kind in ((sources.CIFAR10, datasets.CIFAR10), (sources.CIFAR100, datasets.CIFAR100)):
        assert (source.folder, source.archives) == (kind.base_folder, {kind.filename: kind.tgz_md5})
        assert source.url + kind.filename == kind.url
