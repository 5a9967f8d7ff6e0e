"""A data set: training, validation and test images, and the batches made from them."""

from dataclasses import dataclass, replace

import torch

from prune_init.data.images import Batch, Images, Loader
from prune_init.data.sampler import Sampler
from prune_init.data.seeding import generator
from prune_init.data.selection import balanced, shares
from prune_init.errors import InputError


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled images for pruning, training and testing.

    Attributes:
        train: images to learn from, without those held back for validation.
        test: images to report accuracy on.
        num_classes: labels are 0..num_classes-1.
        input_shape: (C, H, W) of an image, or the shape of another kind of example.
        validation: images held back from the official training images; None unless `split` asked for them.
    """

    train: Images
    test: Images
    num_classes: int
    input_shape: tuple[int, ...]
    validation: Images | None = None

    def __post_init__(self) -> None:
        # A configuration gives a list. Architectures are built from the stated numbers, so these must be right.
        object.__setattr__(self, "input_shape", tuple(self.input_shape))
        if self.input_shape != self.train.shape:
            raise InputError("dataset.input_shape", list(self.input_shape), f"the images have {list(self.train.shape)}")
        labels = torch.cat([self.train.labels, self.test.labels])  # a test set may lack the last classes
        if int(labels.min()) < 0:
            raise InputError("dataset", "labels", f"one of them is {int(labels.min())}; allowed: 0 to num_classes - 1")
        classes = int(labels.max()) + 1
        if self.num_classes != classes:
            raise InputError("dataset.num_classes", self.num_classes, f"the data set has {classes}")

    def split(self, validation: int, *, seed: int) -> "Dataset":
        """Hold back training images for validation, the same number from each class.

        Args:
            validation: number of images in all; 0, as published, for none. If it is not a multiple of the
                number of classes, randomly chosen classes give one image more.
            seed: decides which images.

        Raises:
            InputError: if the number is negative, a class has too few images, or images are held back already.
        """
        if validation < 0 or self.validation is not None:
            raise InputError("validation", validation, "allowed: at least 0, and one split of a data set")
        if validation == 0:
            return self
        random = generator(seed, "validation")
        counts = shares(validation, self.num_classes, random)
        held = balanced(self.train.labels, counts, random, asked=("validation", validation))
        stays = torch.ones(len(self.train), dtype=torch.bool)
        stays[held] = False
        kept, held = stays.nonzero().flatten(), held.sort().values
        return replace(self, train=self.train.select(kept), validation=self.train.select(held))

    def train_loader(
        self,
        batch_size: int,
        *,
        seed: int,
        device: torch.device | str,
        augment: bool = True,
        rank: int = 0,
        world: int = 1,
        drop_last: bool = False,
    ) -> Loader:
        """Training batches in random order; the last, smaller one is kept, as published, unless `drop_last`.

        Order and augmentation depend only on the seed and the epoch (`set_epoch`): a run resumed at an epoch
        sees the batches that it would have seen without interruption. Ranks share the images without overlap,
        and all have the same number of batches.

        Args:
            batch_size: images per batch and rank.
            seed: decides order and augmentation.
            device: where the batches are placed.
            augment: apply the data set's augmentation.
            rank: index of this process, from 0.
            world: number of processes.
            drop_last: leave out the last batch if it is not full.
        """
        sampler = Sampler(len(self.train), batch_size, seed=seed, rank=rank, world=world, drop_last=drop_last)
        return self.train.loader(sampler, device=device, augment=seed if augment else None)

    def validation_loader(
        self, batch_size: int, *, device: torch.device | str, rank: int = 0, world: int = 1
    ) -> Loader | None:
        """Validation batches, made like those of `test_loader`; None if no images are held back."""
        if self.validation is None:
            return None
        sampler = Sampler(len(self.validation), batch_size, rank=rank, world=world)
        return self.validation.loader(sampler, device=device, augment=None)

    def test_loader(self, batch_size: int, *, device: torch.device | str, rank: int = 0, world: int = 1) -> Loader:
        """Test batches: every image once over all ranks, in a fixed order, without augmentation."""
        sampler = Sampler(len(self.test), batch_size, rank=rank, world=world)
        return self.test.loader(sampler, device=device, augment=None)

    def sample(
        self,
        per_class: int,
        *,
        seed: int,
        augment: bool,
        batch_size: int = 256,
        device: torch.device | str = "cpu",
    ) -> list[Batch]:
        """The pruning sample: exactly `per_class` training images of every class, the same on every rank.

        Args:
            per_class: images of each class.
            seed: decides the choice, the order and the augmentation.
            augment: apply the data set's augmentation, as published.
            batch_size: images per batch; the last batch may be smaller.
            device: where the batches are placed.

        Raises:
            InputError: if `per_class` is below 1 or a class has fewer images.

        Differs from the reference: the published SynFlow code takes `per_class * num_classes` images of any
        class, and augments them anew in each pruning iteration.
        """
        if per_class < 1:
            raise InputError("sample.per_class", per_class, "needs a whole number of at least 1")
        random = generator(seed, "sample")
        chosen = balanced(
            self.train.labels, [per_class] * self.num_classes, random, asked=("sample.per_class", per_class)
        )
        chosen = chosen[torch.randperm(len(chosen), generator=random)]
        sampler = Sampler(len(chosen), batch_size)
        images = self.train.select(chosen)
        return list(images.loader(sampler, device=device, augment=seed if augment else None))
