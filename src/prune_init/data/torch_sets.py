"""A `Dataset` made from any two data sets of `torch.utils.data`."""

from collections.abc import Callable, Sequence
from functools import partial
from numbers import Integral
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from prune_init.allowed import whole
from prune_init.data.dataset import Dataset
from prune_init.data.examples import Examples
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
    """Make a data set for pruning, training and testing from two map-style ones, such as torchvision's or your own.

    An example is a tensor and a class label. All tensors have the same shape, whatever they mean (image, row of a
    table, sequence). An example is read each time it is needed and used as it is: normalise it in the data set's own
    transform. Random numbers that a transform draws from torch's generator depend only on the run's seed, the epoch
    and the example.

    Args:
        train: `len(train)` examples; `train[i]` is (tensor, label). All are read once for their labels, except from
            torchvision's own data sets.
        test: likewise, of the same shape.
        num_classes: labels are 0..num_classes-1; `None`: one more than the largest label.
        input_shape: shape of an example; `None`: that of the first one.
        augment: a function from an example's tensor to a changed one of the same shape, applied in training and, with
            `sample.augment=true`, in the pruning sample; never in tests and validation.
        workers: number of processes that read examples; 0 reads in the main process.

    Raises:
        InputError: a data set that is empty or not map-style, examples or labels of another form, or a stated number
            that is wrong.
    """
    whole(1).or_null().check("num_classes", num_classes)
    whole(0).check("workers", workers)
    if augment is not None and not callable(augment):
        raise InputError("augment", augment, "allowed: a function of one tensor, or None")
    training, testing = (_examples(name, part, augment, workers) for name, part in (("train", train), ("test", test)))
    if training.shape != testing.shape:
        why = f"its examples must have the shape of those of train, {list(training.shape)}"
        raise InputError("test", list(testing.shape), why)
    if num_classes is None:
        num_classes = 1 + int(max(training.labels.max(), testing.labels.max()))
        if num_classes > len(train) + len(test):  # the network would get that many outputs
            why = "is larger than the number of examples; allowed: classes counted from 0, or give num_classes="
            raise InputError("dataset", f"label {num_classes - 1}", why)
    return Dataset(training, testing, num_classes, training.shape if input_shape is None else tuple(input_shape))


def _examples(name: str, part: Any, augment: Augment | None, workers: int) -> Examples:
    mapped = hasattr(part, "__len__") and hasattr(part, "__getitem__")  # torch's iterable ones inherit these
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
    plain, augmented = (partial(_input, part, change) for change in (None, augment))
    return Examples(plain, augmented, torch.arange(len(part)), _labels(name, part), workers)


def _input(part: Any, augment: Augment | None, index: int) -> Tensor:
    x: Tensor = part[index][0]
    return x if augment is None else augment(x)


def _labels(name: str, part: Any) -> Tensor:
    """The labels of all examples: the attribute `targets` of torchvision's own sets, else by reading all examples."""
    known = getattr(part, "targets", None)
    own = type(part).__getitem__.__module__.startswith("torchvision.")  # not one that may change the labels
    joint = type(getattr(part, "transforms", None)).__name__ not in ("NoneType", "StandardTransform")
    changed = joint or getattr(part, "target_transform", None) is not None
    if known is None or len(known) != len(part) or changed or not own:
        known = [part[index][1] for index in range(len(part))]
    labels = [label.item() if isinstance(label, Tensor) and label.numel() == 1 else label for label in known]
    for label in labels:
        if not isinstance(label, Integral) or isinstance(label, bool):
            raise InputError(name, f"label {label}", "allowed: whole numbers from 0, one for each example")
    return torch.tensor([int(label) for label in labels])
