"""`prune_init.data.from_torch`: any pair of map-style data sets."""

import pytest
import torch
from torch.utils.data import IterableDataset, TensorDataset

from prune_init import InputError
from prune_init.data import from_torch


def table(rows: int, classes: int = 3, columns: int = 5) -> TensorDataset:
    """A data set whose first column is the index of the row."""
    x = torch.randn(rows, columns, generator=torch.Generator().manual_seed(rows))
    x[:, 0] = torch.arange(rows)
    return TensorDataset(x, torch.arange(rows) % classes)


class Bare:
    """A minimal data set of given examples."""

    def __init__(self, *examples):
        self.examples = examples

    def __len__(self):
        return len(self.examples)

    def __getitem__(self, index):
        return self.examples[index]


def test_labels_are_those_of_the_examples() -> None:
    class Noisy(TensorDataset):
        """Other labels than the attribute holds, such as noise or superclasses."""

        def __getitem__(self, index):
            x, y = super().__getitem__(index)
            return x, int(y) % 2

    def noisy(rows: int) -> Noisy:
        made = Noisy(*table(rows).tensors)
        made.targets = table(rows).tensors[1].tolist()
        return made

    data = from_torch(noisy(30), noisy(12))
    ((_, y),) = data.test_loader(20, device="cpu")
    assert data.num_classes == 2 and y.tolist() == [i % 3 % 2 for i in range(12)]


def test_shape_and_classes_are_found_and_every_example_comes_once():
    train = table(30)
    train.targets = tuple(i % 3 for i in range(30))  # as torchvision keeps them
    data = from_torch(train, table(12))
    assert (data.input_shape, data.num_classes) == ((5,), 3)
    x, y = (torch.cat(parts) for parts in zip(*data.train_loader(8, seed=1, device="cpu"), strict=True))
    assert sorted(x[:, 0].tolist()) == list(range(30)) and torch.equal(y, x[:, 0].long() % 3)
    ((x, y),) = data.test_loader(20, device="cpu")
    assert torch.equal(x, table(12).tensors[0]) and torch.equal(y, table(12).tensors[1])


def test_validation_and_pruning_sample_are_balanced_and_apart():
    data = from_torch(table(30), table(12)).split(6, seed=0)
    held = torch.cat([x for x, _ in data.validation_loader(4, device="cpu")])[:, 0].long()
    ((x, y),) = data.sample(2, seed=0, augment=True)
    assert (held % 3).bincount().tolist() == [2, 2, 2] == y.bincount().tolist()
    assert not set(held.tolist()) & set(x[:, 0].long().tolist())


def test_only_training_is_augmented():
    data = from_torch(table(9), table(9), augment=lambda x: x + 100)
    assert all((x[:, 0] >= 100).all() for x, _ in data.train_loader(4, seed=0, device="cpu"))
    assert all((x[:, 0] < 100).all() for x, _ in data.test_loader(4, device="cpu"))
    assert data.sample(1, seed=0, augment=False)[0][0][:, 0].max() < 100


class Endless(IterableDataset):
    """An iterable data set, which is not map-style."""

    def __iter__(self):
        return iter([GOOD])


class Counted(Endless):
    """An iterable data set with a length."""

    def __len__(self):
        return 1


GOOD = (torch.zeros(2), 0)


@pytest.mark.parametrize(
    ("train", "line"),
    [
        (Endless(), "train=Endless: allowed: a map-style data set"),
        (Counted(), "train=Counted: allowed: a map-style data set"),
        (Bare(GOOD, (torch.zeros(2), None)), "train=label None: allowed: whole numbers from 0"),
        (Bare(GOOD, (torch.zeros(2), 10**9)), "dataset=label 1000000000: is larger than the number of examples"),
        (Bare(), "train=Bare: has no examples"),
        (Bare(torch.zeros(2)), "train=Tensor: allowed: examples that are pairs"),
        (Bare(("image", 0)), "train=str: allowed: examples as tensors"),
        (Bare(GOOD, (torch.zeros(2), 0.5)), r"train=label 0.5: allowed: whole numbers from 0"),
        (Bare((torch.zeros(3), 0)), r"test=\[2\]: its examples must have the shape of those of train, \[3\]"),
        (Bare(GOOD, (torch.zeros(2), -1)), "dataset=labels: one of them is -1"),
    ],
)
def test_what_cannot_work_is_refused_in_a_line(train, line):
    with pytest.raises(InputError, match=line):
        from_torch(train, Bare(GOOD))


def test_stated_numbers_must_be_true_and_shapes_the_same():
    with pytest.raises(InputError, match=r"dataset.num_classes=4: the data set has 3"):
        from_torch(table(9), table(9), num_classes=4)
    with pytest.raises(InputError, match=r"dataset.input_shape=\[4\]: the images have \[5\]"):
        from_torch(table(9), table(9), input_shape=[4])
    with pytest.raises(InputError, match=r"num_classes=3.0: allowed: whole numbers from 1"):
        from_torch(table(9), table(9), num_classes=3.0)
    with pytest.raises(InputError, match=r"workers=-1: allowed: whole numbers from 0"):
        from_torch(table(9), table(9), workers=-1)
    with pytest.raises(InputError, match=r"augment=3: allowed: a function of one tensor"):
        from_torch(table(9), table(9), augment=3)
    ragged = from_torch(Bare(GOOD, (torch.zeros(3), 0)), Bare(GOOD))
    with pytest.raises(InputError, match=r"dataset=\(2,\) and \(3,\): allowed: examples of one shape"):
        list(ragged.train_loader(2, seed=0, device="cpu"))
