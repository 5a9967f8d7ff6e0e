"""Which images make up each batch."""

import torch
from torch import Tensor

from prune_init.data.seeding import generator
from prune_init.errors import InputError


class Sampler:
    """Cuts the images 0..count-1 into batches, differently in each epoch: a pure function of arguments and epoch.

    With several ranks, each takes every `world`-th image of one common order: together they see every image
    exactly once, in the same number of batches, and their k-th batches together are what a single process with
    `world` times the batch size would see (but for fewer left over than ranks, which join the last batches).

    Attributes:
        epoch: the epoch that the next iteration belongs to; see `set_epoch`.
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
            batch_size: images per batch and rank; the last batch may be smaller, and larger by one where
                fewer images than ranks are left over.
            seed: of the order; None keeps the images as they come.
            rank: this process, from 0.
            world: number of processes.
            drop_last: leave out, in each epoch others, the images that do not fill a last batch of all ranks.

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
        """Choose the epoch, counted from 0, of the iterations to come (Lightning calls this as well)."""
        self.epoch = epoch

    def __len__(self) -> int:
        full, rest = divmod(self.count, self.batch_size * self.world)
        # A rest that cannot give every rank an image joins the last full batches: a rank without a batch would hang.
        return full + (rest >= self.world and not self.drop_last)

    def smallest(self) -> int:
        """Images of the smallest batch of any rank."""
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
        # One copy for the whole epoch: a copy per batch would stall an accelerator each time.
        return list(self.indices().to(device).tensor_split(starts))
