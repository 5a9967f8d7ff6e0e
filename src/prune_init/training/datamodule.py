"""Batches for Lightning from a data set of `prune_init.data`."""

from typing import Any

import pytorch_lightning as pl
import torch

from prune_init.data.dataset import Dataset
from prune_init.data.images import Batch, Loader
from prune_init.errors import InputError

TEST_BATCH = 512
"""Images per forward pass without gradients."""


class DataModule(pl.LightningDataModule):
    """Batches for training, and for a test after each epoch; validation batches if images are held back.

    Args:
        dataset: images and labels.
        batch_size: training images per step, over all devices.
        seed: decides order and augmentation.
        drop_last: leave out the last training batch of an epoch if it is not full.
    """

    def __init__(self, dataset: Dataset, *, batch_size: int, seed: int, drop_last: bool = False) -> None:
        super().__init__()
        self.dataset = dataset
        self._batch_size, self._seed, self._drop_last = batch_size, seed, drop_last

    def train_dataloader(self) -> Loader:
        """This rank's training batches, shuffled and augmented by seed and epoch alone."""
        place = self._place()
        if self._batch_size % place["world"]:
            allowed = f"allowed with {place['world']} devices: multiples of {place['world']}"
            raise InputError("recipe.batch_size", self._batch_size, allowed)
        return self.dataset.train_loader(
            self._batch_size // place["world"], seed=self._seed, drop_last=self._drop_last, **place
        )

    def val_dataloader(self) -> list[Loader]:
        """The test set and, if images were held back, the validation set."""
        place = self._place()
        test = self.dataset.test_loader(TEST_BATCH, **place)
        held_back = self.dataset.validation_loader(TEST_BATCH, **place)
        return [test] if held_back is None else [test, held_back]

    def sample(self, per_class: int, device: torch.device, *, augment: bool, batch_size: int) -> list[Batch]:
        """The pruning sample: training images, the same on every rank."""
        return self.dataset.sample(per_class, seed=self._seed, augment=augment, batch_size=batch_size, device=device)

    def _place(self) -> dict[str, Any]:
        trainer = self.trainer
        assert trainer is not None
        return {"device": trainer.strategy.root_device, "rank": trainer.global_rank, "world": trainer.world_size}
