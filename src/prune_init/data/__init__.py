"""Data sets: images in, normalised batches out. Imports torch, torchvision and numpy only."""

from prune_init.data.dataset import Dataset
from prune_init.data.images import Batch, Images, Loader

__all__ = ["Batch", "Dataset", "Images", "Loader"]
