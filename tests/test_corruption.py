"""Damaged and hostile files: refused in one line and left as they are, or harmless; code in them is never run."""

import gzip
import io
import json
import os
import pickle
import random
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from records import record
from test_data_sources import cifar100, load_cifar100, md5  # noqa: F401  (a fixture)
from torch import Tensor

from prune_init import InputError, load_masks
from prune_init.benchmark.status import progress
from prune_init.data import torchvision_sets
from prune_init.data.fetch import unpack
from prune_init.data.folder import read_image
from prune_init.launching import plan, plan_file
from prune_init.pruning import masks as mask_files
from prune_init.record import results
from prune_init.record import status as run_status
from prune_init.training.resume import last_checkpoint

IDENTITY = "0123456789abcdef" * 4
Read = Callable[[Path], Any]


class Hostile:
    """Unpickling an object of this class would create a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


def damages(whole: bytes, cases: int, seed: int) -> Iterator[bytes]:
    """The content truncated, with flipped bits, with some bytes overwritten, and empty."""
    chance = random.Random(seed)
    yield b""
    for case in range(cases - 1):
        content = bytearray(whole)
        if case % 3 == 0:
            del content[chance.randrange(len(whole)) :]
        elif case % 3 == 1:
            for _ in range(chance.choice((1, 1, 1, 8))):
                content[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
        else:
            start = chance.randrange(len(whole))
            content[start : start + 16] = chance.randbytes(16)
        yield bytes(content)


def same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return isinstance(other, Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    return bool(one == other)


def survive(path: Path, read: Read, *, cases: int, exact: bool = True) -> int:
    """Damage `path` in many ways; reading gives a one-line InputError that names it, or (`exact`) the true content."""
    whole, truth = path.read_bytes(), read(path)
    beside = sorted(path.parent.rglob("*"))
    refused = 0
    for number, content in enumerate(damages(whole, cases, seed=len(whole))):
        path.write_bytes(content)
        try:
            found = read(path)
        except InputError as error:
            assert "\n" not in str(error) and (path.name in str(error) or str(path.parent) in str(error))
            refused += 1
        else:
            assert not exact or same(found, truth), f"case {number} was read as something else"
        assert path.read_bytes() == content and sorted(path.parent.rglob("*")) == beside
    path.write_bytes(whole)
    return refused


def test_masks(tmp_path: Path) -> None:
    path = tmp_path / "masks.safetensors"
    tensors = {"a.weight": torch.rand(20, 30) < 0.1, "b.weight": torch.rand(7) < 0.5}
    mask_files.save(path, tensors, {"scorer": "synflow"})
    assert survive(path, load_masks, cases=150) > 120


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A small last.ckpt."""
    net = torch.nn.Linear(10, 10)
    state = {"identity": IDENTITY, "epoch": 3, "state_dict": net.state_dict(), "pruning": {"settings": {}}}
    torch.save(state, tmp_path / "last.ckpt")
    return tmp_path / "last.ckpt"


def test_checkpoints(checkpoint: Path) -> None:
    def read(path: Path) -> Any:
        assert last_checkpoint(path.parent, IDENTITY) == path
        return torch.load(path, weights_only=True)

    assert survive(checkpoint, read, cases=150) > 75


@pytest.mark.parametrize("form", ["pickle", "zip", "old"])
def test_a_checkpoint_runs_no_code(tmp_path: Path, form: str) -> None:
    path, trap = tmp_path / "last.ckpt", tmp_path / "trapped"
    state = {"identity": IDENTITY, "epoch": Hostile(trap)}
    if form == "pickle":
        path.write_bytes(pickle.dumps(state))
    else:
        torch.save(state, path, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(InputError, match=r"last.ckpt: is damaged"):
        last_checkpoint(tmp_path, IDENTITY)
    assert path.exists() and not trap.exists()


def test_results(tmp_path: Path) -> None:
    results.write(tmp_path, record(identity=IDENTITY))

    def read(path: Path) -> Any:
        found = results.read(path.parent, IDENTITY)
        assert found is not None and found.identity == IDENTITY
        return found

    # JSON files have no checksum, so a changed digit can go unnoticed. What is read belongs to this run, or is refused.
    assert survive(tmp_path / "result.json", read, cases=150, exact=False) > 75


def test_a_status_that_lacks_a_key_says_nothing(tmp_path: Path) -> None:
    run_status.fail(tmp_path, IDENTITY, ["seed=1"], "out of luck")
    path = tmp_path / "status.json"
    row = json.loads(path.read_text())
    assert run_status.read(tmp_path) is not None
    for key in ("log", "error", "pid", "slurm_job"):
        path.write_text(json.dumps({k: v for k, v in row.items() if k != key}))
        assert run_status.read(tmp_path) is None, key


def test_what_is_said_of_a_sweep(tmp_path: Path) -> None:
    """A damaged plan, or damaged files of a failed run, do not prevent a report about the other runs."""
    plan_file.write(tmp_path, [plan.Planned(tmp_path / "a", IDENTITY), plan.Planned(tmp_path / "b", "f" * 64)], "sweep")
    run_status.fail(tmp_path / "a", IDENTITY, ["seed=1"], "out of luck")
    (planned,) = tmp_path.glob(".*/*.jsonl")

    def read(_: Path) -> Any:
        return progress(tmp_path).failures

    assert survive(planned, read, cases=120, exact=False) > 60
    assert survive(tmp_path / "a/status.json", read, cases=120, exact=False) == 0


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "gz"])
def test_archives(tmp_path: Path, kind: str) -> None:
    path, content = tmp_path / f"data.{kind}", random.Random(0).randbytes(600) + bytes(2000)
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
            packed.writestr("set/images", content)
            packed.writestr("set/labels", content[:50])
    elif kind == "tar.gz":
        with tarfile.open(path, "w:gz") as tar:
            for name, size in (("set/images", len(content)), ("set/labels", 50)):
                member = tarfile.TarInfo(name)
                member.size = size
                tar.addfile(member, io.BytesIO(content[:size]))
    else:
        path.write_bytes(gzip.compress(content))
    assert survive(path, partial(unpacked, tmp_path), cases=120, exact=False) > 60


def unpacked(outside: Path, archive: Path) -> None:
    """Unpack into a folder that is removed afterwards; members may be damaged, but must not be outside of it."""
    import tempfile

    before = sorted(outside.rglob("*"))
    with tempfile.TemporaryDirectory(dir=outside) as folder:
        inside = Path(folder) / "deep" / "inside"
        inside.mkdir(parents=True)
        try:
            unpack(archive, inside)
        finally:
            assert {p for p in Path(folder).rglob("*") if not p.is_relative_to(inside)} == {inside.parent}
    assert sorted(outside.rglob("*")) == before


@pytest.mark.parametrize("form", ["JPEG", "PNG", "BMP", "GIF", "WEBP", "PPM"])
def test_images(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"image.{form.lower()}"
    pixels = np.random.default_rng(0).integers(0, 255, (24, 24, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, form)
    survive(path, lambda p: read_image(str(p)).size, cases=60, exact=False)


def test_cifar(cifar100: Path, tmp_path: Path) -> None:  # noqa: F811
    path = cifar100 / "cifar-100-python/test"

    def read(_: Path) -> Tensor:
        data: Any = load_cifar100(cifar100)
        return data.test.pixels

    assert survive(path, read, cases=12) == 12


@pytest.mark.parametrize("name", ["train", "test", "meta"])
def test_a_data_file_runs_no_code(cifar100: Path, tmp_path: Path, name: str) -> None:  # noqa: F811
    path, trap = cifar100 / "cifar-100-python" / name, tmp_path / "trapped"
    hostile = pickle.dumps({"data": Hostile(trap), "fine_labels": [], "fine_label_names": []})
    path.write_bytes(hostile)
    with pytest.raises(InputError, match=f"{name} is not the official file"):
        load_cifar100(cifar100)
    assert not trap.exists() and path.read_bytes() == hostile


def test_idx_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = tmp_path / "MNIST/raw"
    raw.mkdir(parents=True)
    sums = {}
    for part, count in (("train", 20), ("t10k", 10)):
        for kind, head, size in (("images-idx3", (3, count, 28, 28), 784), ("labels-idx1", (1, count), 1)):
            sizes = b"".join(n.to_bytes(4, "big") for n in head[1:])
            content = bytes([0, 0, 8, head[0]]) + sizes + bytes(i % 10 for i in range(count * size))
            (raw / f"{part}-{kind}-ubyte").write_bytes(content)
            sums[f"{part}-{kind}-ubyte"] = md5(content)
    monkeypatch.setattr(torchvision_sets, "MNIST_MD5", sums)

    def read(_: Path) -> Tensor:
        data: Any = torchvision_sets.mnist(root=str(tmp_path), download=False, num_classes=10, input_shape=(1, 28, 28))
        return data.test.pixels

    assert survive(raw / "t10k-images-idx3-ubyte", read, cases=60) == 60
