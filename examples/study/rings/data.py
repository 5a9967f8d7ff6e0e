"""A data set: points on three noisy rings, made from two of torch's own data sets."""

import torch
from torch.utils.data import TensorDataset

from prune_init.data import Dataset, from_torch


def ring_points(points: int, noise: float, seed: int) -> TensorDataset:
    """`points` pairs of coordinates on rings of radius 1, 2 and 3 in turn, labelled with the index of the ring."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.arange(points) % 3
    radius = 1 + labels + noise * torch.randn(points, generator=random)
    angle = 2 * torch.pi * torch.rand(points, generator=random)
    return TensorDataset(torch.stack([radius * angle.cos(), radius * angle.sin()], 1), labels)


def rings(*, num_classes: int, input_shape: list[int], noise: float = 0.2) -> Dataset:
    """A data set of 900 training points and 600 test points."""
    train, test = ring_points(900, noise, seed=1), ring_points(600, noise, seed=2)
    return from_torch(train, test, num_classes=num_classes, input_shape=input_shape)
