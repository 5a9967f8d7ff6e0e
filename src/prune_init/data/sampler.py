"""Which images make up each batch."""

import torch
from torch import Tensor

from prune_init.data.seeding import generator
from prune_init.errors import InputError


class Sampler:
    """Divides the images 0..count-1 into batches, in each epoch differently, by its arguments and the epoch alone.

    With several ranks, each takes every `world`-th image of one common order. Together they see every image
    exactly once, in the same number of batches, and their k-th batches together are the k-th batch of a single
    process with `world` times the batch size. There is one exception: if fewer images than ranks remain, they
    join the last batches.

    Attributes:
        epoch: the epoch of the next iteration; see `set_epoch`.
    """

    def __init__(
        self,
        count: int,
        batch_size: int,
        *,
        seed: int | None = None,
        rank: int = 0,
        world: int = 1,
        drop_last: bool = False,
    ) -> None:
        """Describe the batches.

        Args:
            count: number of images over all ranks.
            batch_size: images per batch and rank; the last batch may be smaller, or larger by one if fewer
                images than ranks remain.
            seed: decides the order; None keeps the original order.
            rank: index of this process, from 0.
            world: number of processes.
            drop_last: leave out the images that do not fill a last batch of all ranks, other ones in each epoch.

        Raises:
            InputError: if the batch size is below 1, or there are fewer images than ranks or than fill a batch.
        """
        if batch_size < 1:
            raise InputError("batch_size", batch_size, "needs a whole number of at least 1")
        if count < world:
            raise InputError("world", world, f"needs at least one image per process, and there are {count}")
        if drop_last and count < batch_size * world:
            why = f"leaves no batch: {count} images do not fill one of {batch_size * world}"
            raise InputError("recipe.drop_last", "true", why)
        self.count, self.batch_size, self.seed, self.rank, self.world = count, batch_size, seed, rank, world
        self.drop_last = drop_last
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, counted from 0, of the next iterations (Lightning calls this too)."""
        self.epoch = epoch

    def __len__(self) -> int:
        full, rest = divmod(self.count, self.batch_size * self.world)
        # Remaining images that are fewer than the ranks join the last full batches: a rank without a batch would hang.
        return full + (rest >= self.world and not self.drop_last)

    def smallest(self) -> int:
        """The number of images in the smallest batch of any rank."""
        if self.drop_last:
            return self.batch_size
        return min(self.batch_size, self.count // self.world - (len(self) - 1) * self.batch_size)

    def indices(self) -> Tensor:
        """This rank's images, int64, in the order of this epoch."""
        if self.seed is None:
            order = torch.arange(self.count)
        else:
            order = torch.randperm(self.count, generator=generator(self.seed, "order", self.epoch))
        if self.drop_last:
            order = order[: len(self) * self.batch_size * self.world]
        return order[self.rank :: self.world]

    def batches(self, device: torch.device | str = "cpu") -> list[Tensor]:
        """This epoch's batches of image indices, int64, on `device`."""
        starts = [k * self.batch_size for k in range(1, len(self))]
        # One copy for the whole epoch, because every copy stalls an accelerator.
        return list(self.indices().to(device).tensor_split(starts))
