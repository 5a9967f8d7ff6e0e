"""Any pair of `torch.utils.data` data sets as a data set of ours."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any, Self

import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from prune_init.allowed import whole
from prune_init.data.dataset import Dataset
from prune_init.data.files import Seeded, read_by, seeded
from prune_init.data.images import Batch, Images, Loader
from prune_init.data.sampler import Sampler
from prune_init.errors import InputError

Augment = Callable[[Tensor], Tensor]


def from_torch(
    train: Any,
    test: Any,
    *,
    num_classes: int | None = None,
    input_shape: Sequence[int] | None = None,
    augment: Augment | None = None,
    workers: int = 0,
) -> Dataset:
    """A data set for pruning, training and testing made of two map-style ones, such as torchvision's or your own.

    An example is a tensor of one shape, whatever its meaning (image, row of a table, sequence), and a class label. It
    is read each time that it is needed, and used as it is: normalise it in the data set's own transform. What is drawn
    at random there depends on the run's seed, the epoch and the example alone, if it is drawn from torch's generator.

    Args:
        train: `len(train)` examples; `train[i]` is (tensor, label).
        test: likewise, of the same shape.
        num_classes: labels are 0..num_classes-1; `None`: one more than the largest label.
        input_shape: of an example; `None`: that of the first one.
        augment: from an example's tensor to a changed one of the same shape, in training and, with
            `sample.augment=true`, in the pruning sample; never in tests and validation.
        workers: processes that read; 0 reads in the main process.

    Raises:
        InputError: not map-style, empty, or examples or labels of another form; a stated number that is not true.
    """
    whole(1).or_null().check("num_classes", num_classes)
    whole(0).check("workers", workers)
    if augment is not None and not callable(augment):
        raise InputError("augment", augment, "allowed: a function of one tensor, or None")
    parts = {"train": train, "test": test}
    for name, part in parts.items():
        _check(name, part)
    found = {
        name: TorchExamples(part, torch.arange(len(part)), _labels(name, part), None, workers)
        for name, part in parts.items()
    }
    shape = found["train"].shape
    if found["test"].shape != shape:
        raise InputError(
            "test", list(found["test"].shape), f"its examples must have the shape of those of train, {list(shape)}"
        )
    if num_classes is None:
        num_classes = 1 + max(int(part.labels.max()) for part in found.values())
        if num_classes > len(train) + len(test):  # a net would get that many outputs
            why = "is larger than the number of examples; allowed: classes counted from 0, or so many by num_classes="
            raise InputError("dataset", f"label {num_classes - 1}", why)
    augmented = replace(found["train"], augment=augment)
    return Dataset(augmented, found["test"], num_classes, shape if input_shape is None else tuple(input_shape))


@dataclass(frozen=True, eq=False)
class TorchExamples(Images):
    """Examples of a map-style data set.

    Attributes:
        source: the data set.
        indices: int64 [N], which of its examples.
        labels: int64 [N].
        augment: for training; None if there is none.
        workers: processes that read; 0 reads in the main process.
    """

    source: Any
    indices: Tensor
    labels: Tensor
    augment: Augment | None
    workers: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the first example."""
        return tuple(self.source[int(self.indices[0])][0].shape)

    def select(self, indices: Tensor) -> Self:
        """The examples at `indices`."""
        return replace(self, indices=self.indices[indices], labels=self.labels[indices])

    def loader(self, sampler: Sampler, *, device: torch.device | str, augment: int | None) -> Loader:
        """See `Images.loader`."""
        return TorchLoader(self, sampler, device=torch.device(device), augment=augment)


class TorchLoader(Loader):
    """Batches of examples; each is read, and augmented, with a seed of its own."""

    def __init__(self, examples: TorchExamples, sampler: Sampler, *, device: torch.device, augment: int | None) -> None:
        super().__init__(sampler)
        self._device = device
        read = _Read(examples, augment is not None)
        self._batches = read_by(read, Seeded(sampler, augment), examples.workers, device, _together)

    def __iter__(self) -> Iterator[Batch]:
        for inputs, labels in self._batches:
            yield inputs.to(self._device, non_blocking=True), labels.to(self._device, non_blocking=True)


class _Read:
    def __init__(self, examples: TorchExamples, augment: bool) -> None:
        self._examples, self._augment = examples, examples.augment if augment else None

    def __getitem__(self, item: tuple[int, int]) -> tuple[Tensor, Tensor]:
        number, seed = item
        with seeded(seed):
            x = self._examples.source[int(self._examples.indices[number])][0]
            return x if self._augment is None else self._augment(x), self._examples.labels[number]


def _together(examples: list[tuple[Tensor, Tensor]]) -> Batch:
    shapes = {tuple(x.shape) for x, _ in examples}
    if len(shapes) > 1:
        given = " and ".join(map(str, sorted(shapes)))
        raise InputError("dataset", given, "allowed: examples of one shape; pad or cut them in the data set")
    inputs, labels = zip(*examples, strict=True)
    return torch.stack(inputs), torch.stack(labels)


def _check(name: str, part: Any) -> None:
    mapped = hasattr(part, "__len__") and hasattr(part, "__getitem__")  # which torch's iterable ones inherit
    if not mapped or isinstance(part, IterableDataset):
        raise InputError(name, type(part).__name__, "allowed: a map-style data set, with __len__ and __getitem__")
    if not len(part):
        raise InputError(name, type(part).__name__, "has no examples")
    example = part[0]
    if not isinstance(example, Sequence) or len(example) != 2:
        raise InputError(name, type(example).__name__, "allowed: examples that are pairs (tensor, label)")
    if not isinstance(example[0], Tensor):
        why = "allowed: examples as tensors; give the data set a transform, such as torchvision's ToTensor()"
        raise InputError(name, type(example[0]).__name__, why)


def _labels(name: str, part: Any) -> Tensor:
    """Of all examples: `targets`, as torchvision keeps them, else by reading all."""
    known = getattr(part, "targets", None)
    if known is None or len(known) != len(part) or getattr(part, "target_transform", None) is not None:
        known = [part[index][1] for index in range(len(part))]
    labels = [label.item() if isinstance(label, Tensor) and label.numel() == 1 else label for label in known]
    for label in labels:
        if not isinstance(label, Integral) or isinstance(label, bool):
            raise InputError(name, f"label {label}", "allowed: whole numbers from 0, one for each example")
    return torch.tensor([int(label) for label in labels])
