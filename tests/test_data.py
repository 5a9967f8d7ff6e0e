"""Data sets: the embedded one, the images in each batch, augmentation, splits and samples."""

import hashlib
import importlib
import inspect
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from torch import Tensor
from torchvision.transforms import functional

from prune_init.data import Dataset, dataset
from prune_init.data.arrays import ArrayImages
from prune_init.data.augmentation import CropFlip
from prune_init.data.fashion_small import MEAN, STD, fashion_small
from prune_init.data.sampler import Sampler
from prune_init.data.seeding import generator
from prune_init.errors import InputError

CONF = Path(__file__).parent.parent / "conf/dataset"


def numbered(per_class: int = 20, classes: int = 4, *, augmentation: CropFlip | None = None, size: int = 6) -> Dataset:
    """A data set in which all pixels of image i have the value i, so that the images in a batch can be recognised."""
    count = per_class * classes
    assert count <= 256
    pixels = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, size, size).contiguous()
    train = ArrayImages(pixels, torch.arange(count) % classes, (0.0,), (1.0,), augmentation)
    return Dataset(train, train.select(torch.arange(2 * classes)), classes, (1, size, size))


def numbers(images: Tensor) -> list[int]:
    """The indices of these images in `numbered` (the largest value, since crops have a border of zeros)."""
    return (images.amax((1, 2, 3)) * 255).round().int().tolist()


@pytest.fixture(scope="module")
def small() -> Dataset:
    return fashion_small(num_classes=10, input_shape=(1, 28, 28))


# --- the embedded data set


def test_fashion_small_is_balanced_and_disjoint(small: Dataset) -> None:
    assert small.train.labels.bincount().tolist() == [500] * 10
    assert small.test.labels.bincount().tolist() == [100] * 10
    assert small.train.shape == (1, 28, 28)
    prints = [
        {hashlib.sha256(image.numpy().tobytes()).digest() for image in part.pixels}
        for part in (small.train, small.test)
        if isinstance(part, ArrayImages)
    ]
    assert not prints[0] & prints[1]
    assert len(prints[0]) > 4990  # Fashion-MNIST itself contains a few duplicates


def test_fashion_small_normalised_to_zero_mean_and_unit_deviation(small: Dataset) -> None:
    images = torch.cat([x for x, _ in small.train_loader(1000, seed=0, device="cpu", augment=False)])
    assert abs(images.mean()) < 0.02
    assert abs(images.std() - 1) < 0.02


def test_fashion_small_is_what_its_script_makes() -> None:
    path = Path(dataset.__file__).with_name("fashion_small.npz")
    with np.load(path, allow_pickle=False) as data:
        content = hashlib.sha256(b"".join(data[key].tobytes() for key in sorted(data))).hexdigest()
    assert content == "7a33692a034fbf3338d32b73d846f48606f2634da786c57f8742242102b05068"
    assert path.stat().st_size < 2_700_000
    assert "Copyright (c) 2017 Zalando SE" in path.with_name("LICENSE.fashion-mnist").read_text()


# --- order


@given(count=st.integers(1, 300), batch_size=st.integers(1, 40), world=st.integers(1, 5), seed=st.integers(0))
@settings(max_examples=200, deadline=None)
def test_ranks_share_every_image_once_in_equally_many_batches(
    count: int, batch_size: int, world: int, seed: int
) -> None:
    if count < world:
        with pytest.raises(InputError, match=f"world={world}"):
            Sampler(count, batch_size, world=world)
        return
    ranks = [Sampler(count, batch_size, seed=seed, rank=rank, world=world) for rank in range(world)]
    batches = [rank.batches() for rank in ranks]
    assert len({len(each) for each in batches}) == 1 and len(batches[0]) == len(ranks[0])
    assert sorted(torch.cat([torch.cat(each) for each in batches]).tolist()) == list(range(count))
    sizes = [len(batch) for each in batches for batch in each]
    assert min(sizes) >= 1 and max(sizes) <= batch_size + (world > 1)
    assert all(len(batch) == batch_size for each in batches for batch in each[:-1])


def test_the_kth_batches_of_two_ranks_are_the_kth_batch_of_one_process() -> None:
    whole = Sampler(103, 20, seed=3).batches()
    halves = [Sampler(103, 10, seed=3, rank=rank, world=2).batches() for rank in range(2)]
    for k, batch in enumerate(whole):
        assert sorted(batch.tolist()) == sorted(torch.cat([half[k] for half in halves]).tolist())


def test_the_last_partial_batch_is_kept(small: Dataset) -> None:
    loader = small.train_loader(128, seed=0, device="cpu")
    assert [len(x) for x, _ in loader] == [128] * 39 + [8]
    assert len(loader) == 40


@pytest.mark.parametrize("augmentation", [None, CropFlip(2)])
def test_order_and_augmentation_are_a_function_of_seed_and_epoch(augmentation: CropFlip | None) -> None:
    data = numbered(augmentation=augmentation)

    def epoch(seed: int, number: int) -> Tensor:
        loader = data.train_loader(16, seed=seed, device="cpu")
        loader.set_epoch(number)
        return torch.cat([x for x, _ in loader])

    loader = data.train_loader(16, seed=1, device="cpu")
    run = []
    for number in range(3):
        loader.set_epoch(number)
        torch.rand(number + 1)  # other random numbers drawn in between
        run.append(torch.cat([x for x, _ in loader]))
    assert all(torch.equal(run[number], epoch(1, number)) for number in range(3))
    assert not torch.equal(run[0], run[1])
    assert not torch.equal(run[0], epoch(0, 0))
    assert not torch.equal(run[0], epoch(0, 1))  # they would be equal with seed + epoch


def test_loading_leaves_the_global_random_state_alone() -> None:
    before = torch.random.get_rng_state()
    data = numbered(augmentation=CropFlip(2))
    list(data.split(20, seed=0).train_loader(16, seed=0, device="cpu"))
    data.sample(2, seed=0, augment=True)
    assert torch.equal(before, torch.random.get_rng_state())


def test_streams_of_one_seed_differ() -> None:
    firsts = {
        int(torch.randint(2**62, (1,), generator=generator(seed, stream, epoch)))
        for seed in range(5)
        for stream in ("order", "augmentation")
        for epoch in range(5)
    }
    assert len(firsts) == 50


def test_augmentation_does_not_depend_on_batch_size_or_ranks() -> None:
    data = numbered(augmentation=CropFlip(2))

    def seen(batch_size: int, world: int) -> dict[int, Tensor]:
        loaders = [data.train_loader(batch_size, seed=5, device="cpu", rank=r, world=world) for r in range(world)]
        batches = torch.cat([x for loader in loaders for x, _ in loader])
        return dict(zip(numbers(batches), batches, strict=True))

    one, other = seen(80, 1), seen(7, 3)
    assert one.keys() == other.keys() and all(torch.equal(one[i], other[i]) for i in one)


# --- augmentation


def test_crops_are_uniform_over_all_offsets_and_flips_half() -> None:
    draws = CropFlip(padding=4).draw(81_000, generator(0, "test"))
    cells = (draws[:, 0] * 9 + draws[:, 1]).bincount(minlength=81)
    # Chi-square with 80 degrees of freedom: mean 80; exceeds 133 once in 10,000 times.
    assert len(cells) == 81 and ((cells - 1000) ** 2 / 1000).sum() < 133
    assert abs(draws[:, 2].float().mean() - 0.5) < 4 * 0.5 / 81_000**0.5
    left_given_flip = draws[draws[:, 2] == 1, 1].float().mean()
    assert abs(left_given_flip - 4) < 0.06  # 4.5 standard deviations: offset and flip are independent


def test_images_of_one_batch_are_cropped_each_by_itself() -> None:
    pixels = torch.zeros(4000, 1, 9, 9, dtype=torch.uint8)
    pixels[:, :, 4, 4] = 255  # one dot, whose position shows the offset
    images = ArrayImages(pixels, torch.zeros(4000).long(), (0.0,), (1.0,), CropFlip(padding=4, flip=False))
    ((x, _),) = images.loader(Sampler(4000, 4000), device="cpu", augment=0)
    places = x.flatten(1).argmax(1).bincount(minlength=81)
    assert places.min() > 20 and places.max() < 90  # expected 49, standard deviation 7


@given(top=st.integers(0, 8), left=st.integers(0, 8), flip=st.booleans())
@settings(max_examples=30, deadline=None)
def test_one_crop_equals_torchvision(top: int, left: int, flip: bool) -> None:
    pixels = torch.randint(256, (3, 32, 32), dtype=torch.uint8, generator=generator(0, "test"))
    mean, std = (0.491, 0.482, 0.447), (0.247, 0.243, 0.262)
    image = functional.crop(functional.pad(functional.to_pil_image(pixels), [4]), top, left, 32, 32)
    image = functional.hflip(image) if flip else image
    draws = torch.tensor([[top, left, int(flip)], [8 - top, left, 0]])
    cropped = CropFlip()(torch.stack([pixels, pixels]), draws)[:1]
    assert torch.equal(cropped[0], functional.pil_to_tensor(image))
    images = ArrayImages(cropped, torch.zeros(1).long(), mean, std)
    ((x, _),) = images.loader(Sampler(1, 1), device="cpu", augment=None)
    assert torch.equal(x[0], functional.normalize(functional.to_tensor(image), mean, std))


def test_padding_is_pixel_zero_normalised(small: Dataset) -> None:
    assert isinstance(small.train, ArrayImages)
    white = replace(small.train, pixels=torch.full_like(small.train.pixels, 255), augmentation=CropFlip(4))
    x, _ = next(iter(white.loader(Sampler(5000, 500), device="cpu", augment=0)))
    black, full = -MEAN[0] / STD[0], (1 - MEAN[0]) / STD[0]
    torch.testing.assert_close(x.unique(), torch.tensor([black, full]))


# --- validation split and pruning sample


@given(validation=st.integers(0, 80), seed=st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_split_is_balanced_disjoint_and_complete(validation: int, seed: int) -> None:
    data = numbered().split(validation, seed=seed)
    if data.validation is None:
        assert validation == 0 and data.validation_loader(8, device="cpu") is None
        return
    loader = data.validation_loader(8, device="cpu")
    assert loader is not None
    held = [i for x, _ in loader for i in numbers(x)]
    kept = [i for x, _ in data.train_loader(8, seed=0, device="cpu") for i in numbers(x)] if validation < 80 else []
    assert sorted(held + kept) == list(range(80)) and len(held) == validation
    counts = data.validation.labels.bincount(minlength=4)
    assert counts.max() - counts.min() <= 1


def test_split_is_seeded(small: Dataset) -> None:
    def chosen(seed: int) -> Tensor:
        validation = small.split(1000, seed=seed).validation
        assert isinstance(validation, ArrayImages)
        return validation.pixels

    assert torch.equal(chosen(0), chosen(0)) and not torch.equal(chosen(0), chosen(1))
    with pytest.raises(InputError, match=r"validation=\d+: class 0 has only 500 training images, not 501"):
        small.split(5010, seed=0)
    with pytest.raises(InputError, match="validation=100"):
        small.split(100, seed=0).split(100, seed=0)


@given(per_class=st.integers(1, 10), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_sample_holds_exactly_so_many_of_each_class_and_none_held_back(per_class: int, seed: int) -> None:
    data = numbered().split(40, seed=seed)
    batches = data.sample(per_class, seed=seed, augment=False, batch_size=16)
    x, y = torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches])
    assert y.bincount().tolist() == [per_class] * 4
    assert [len(x) for x, _ in batches[:-1]] == [16] * (len(batches) - 1)
    assert len(set(numbers(x))) == 4 * per_class
    assert [i % 4 for i in numbers(x)] == y.tolist()
    assert isinstance(data.validation, ArrayImages)
    assert not set(numbers(x)) & set(data.validation.pixels[:, 0, 0, 0].tolist())


def test_sample_is_seeded_and_shuffled() -> None:
    data = numbered(augmentation=CropFlip(2))
    first, again, other = (data.sample(10, seed=seed, augment=True)[0] for seed in (0, 0, 1))
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    assert not torch.equal(first[1], other[1])
    assert first[1].tolist() != sorted(first[1].tolist())
    plain = data.sample(10, seed=0, augment=False)[0]
    assert torch.equal(plain[1], first[1]) and not torch.equal(plain[0], first[0])


def test_sample_larger_than_a_class_names_the_class() -> None:
    data = numbered()
    assert isinstance(data.train, ArrayImages)
    keep = (data.train.labels != 2) | (torch.arange(80) < 12)
    poor = replace(data, train=data.train.select(keep.nonzero().flatten()))
    with pytest.raises(InputError, match="per_class=4: class 2 has only 3 training images"):
        poor.sample(4, seed=0, augment=False)
    with pytest.raises(InputError, match="per_class=0"):
        poor.sample(0, seed=0, augment=False)


# --- test images


def test_test_images_come_once_in_order_and_plain() -> None:
    data = numbered(augmentation=CropFlip(2))
    for _ in range(2):
        assert [i for x, _ in data.test_loader(3, device="cpu") for i in numbers(x)] == list(range(8))
    shards = [data.test_loader(3, device="cpu", rank=rank, world=2) for rank in range(2)]
    assert sorted(i for shard in shards for x, _ in shard for i in numbers(x)) == list(range(8))


# --- configuration


@pytest.mark.parametrize("path", sorted(CONF.glob("*.yaml")), ids=lambda path: path.stem)
def test_each_choice_names_a_loader_and_its_arguments(path: Path) -> None:
    config = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    assert isinstance(config, dict) and config.pop("name") == path.stem
    module, _, name = config.pop("_target_").rpartition(".")
    loader = getattr(importlib.import_module(module), name)
    assert set(config) == set(inspect.signature(loader).parameters)


def test_labels_must_lie_below_the_number_of_classes(small: Dataset) -> None:
    few = small.test.select((small.test.labels < 3).nonzero().flatten())
    assert replace(small, test=few).num_classes == 10
    assert isinstance(few, ArrayImages)
    with pytest.raises(InputError, match=r"dataset\.num_classes=10: the data set has 13"):
        replace(small, test=replace(few, labels=few.labels + 10))
    with pytest.raises(InputError, match=r"dataset=labels: one of them is -1; allowed: 0 to num_classes - 1"):
        replace(small, test=replace(few, labels=few.labels - 1))


@pytest.mark.parametrize("world", [1, 2, 3])
def test_drop_last_leaves_out_what_does_not_fill_a_batch(world: int) -> None:
    ranks = [Sampler(22, 3, seed=0, rank=rank, world=world, drop_last=True) for rank in range(world)]
    kept = [Sampler(22, 3, seed=0, rank=rank, world=world) for rank in range(world)]
    for rank, other in zip(ranks, kept, strict=True):
        batches = rank.batches()
        assert [len(batch) for batch in batches] == [3] * len(rank) == [3] * (22 // (3 * world))
        assert all(torch.equal(batch, full) for batch, full in zip(batches, other.batches(), strict=False))
    assert {rank.smallest() for rank in ranks} == {3}
    assert {rank.smallest() for rank in kept} == {min(len(batch) for rank in kept for batch in rank.batches())}
    with pytest.raises(InputError, match=r"recipe\.drop_last=true: leaves no batch: 22 images do not fill one of 69"):
        Sampler(22, 23, world=3, drop_last=True)


def test_false_numbers_in_the_configuration_are_refused() -> None:
    with pytest.raises(InputError, match=r"dataset\.num_classes=100: the data set has 10"):
        fashion_small(num_classes=100, input_shape=(1, 28, 28))
    with pytest.raises(InputError, match=r"dataset\.input_shape=\[3, 28, 28\]: the images have \[1, 28, 28\]"):
        fashion_small(num_classes=10, input_shape=(3, 28, 28))
