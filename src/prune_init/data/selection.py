"""Random selection of images with given numbers from each class."""

import torch
from torch import Tensor

from prune_init.errors import InputError


def balanced(labels: Tensor, counts: list[int], random: torch.Generator, *, asked: tuple[str, object]) -> Tensor:
    """Draw images without replacement, a given number from each class.

    Args:
        labels: int64 [N], each in 0..len(counts)-1.
        counts: how many images to draw from each class.
        random: decides which images; one permutation of N is drawn from it.
        asked: the setting and its value, for error messages.

    Returns:
        int64 [sum(counts)] positions in `labels`, class by class, in random order within a class.

    Raises:
        InputError: if a class has too few images; the message names it.
    """
    # A stable sort of a permutation by label: classes in order, random order within each.
    order = torch.randperm(len(labels), generator=random)
    order = order[labels[order].argsort(stable=True)]
    groups = order.split(torch.bincount(labels, minlength=len(counts)).tolist())
    for name, (group, count) in enumerate(zip(groups, counts, strict=True)):
        if len(group) < count:
            raise InputError(*asked, f"class {name} has only {len(group)} training images, not {count}")
    return torch.cat([group[:count] for group, count in zip(groups, counts, strict=True)])


def shares(total: int, num_classes: int, random: torch.Generator) -> list[int]:
    """Divide `total` among the classes as evenly as possible; randomly chosen classes get one more."""
    lucky = torch.randperm(num_classes, generator=random)[: total % num_classes]
    counts = torch.full((num_classes,), total // num_classes)
    counts[lucky] += 1
    return counts.tolist()
