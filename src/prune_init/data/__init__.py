"""Data sets: examples in, batches out. Imports torch, torchvision and numpy only."""

from prune_init.data.dataset import Dataset
from prune_init.data.images import Batch, Images, Loader
from prune_init.data.torch_sets import from_torch

__all__ = ["Batch", "Dataset", "Images", "Loader", "from_torch"]
