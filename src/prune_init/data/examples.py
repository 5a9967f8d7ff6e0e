"""Examples that need not fit in memory: read one by one, in this process or in worker processes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor
from torch.utils.data import DataLoader, default_collate

from prune_init.data.images import Batch, Channels, Images, Loader, normalisation
from prune_init.data.sampler import Sampler
from prune_init.data.seeding import generator
from prune_init.errors import InputError
from prune_init.host import cores

Read = Callable[[int], Tensor]
"""A function from an index to the example there."""


@dataclass(frozen=True, eq=False)
class Examples(Images):
    """Examples that are read each time they are needed.

    Attributes:
        plain: reads an example without augmentation.
        augmented: reads an example with augmentation.
        indices: int64 [N], the arguments of `plain` and `augmented`.
        labels: int64 [N].
        workers: number of processes that read, limited to the number of cores; 0 reads in the main process.
        statistics: mean and standard deviation of each channel, for pixels scaled to 0..1, by which bytes are
            normalised; None leaves examples as they are.
    """

    plain: Read
    augmented: Read
    indices: Tensor
    labels: Tensor
    workers: int
    statistics: tuple[Channels, Channels] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the first example."""
        return tuple(self.plain(int(self.indices[0])).shape)

    def select(self, indices: Tensor) -> Self:
        """The examples at `indices`."""
        return replace(self, indices=self.indices[indices], labels=self.labels[indices])

    def loader(self, sampler: Sampler, *, device: torch.device | str, augment: int | None) -> Loader:
        """See `Images.loader`."""
        return ExampleLoader(self, sampler, device=torch.device(device), augment=augment)


class ExampleLoader(Loader):
    """Batches from worker processes, normalised on the device.

    Each example is read with its own seed, which is drawn from the run's seed and the epoch: neither the number of
    workers nor the batch that contains it changes the example.
    """

    def __init__(self, examples: Examples, sampler: Sampler, *, device: torch.device, augment: int | None) -> None:
        super().__init__(sampler)
        self._device = device
        self._normalise = None if examples.statistics is None else normalisation(*examples.statistics, device)
        self._batches: DataLoader[Batch] = DataLoader(
            _Seeded(examples.plain if augment is None else examples.augmented, examples),  # type: ignore[arg-type]
            batch_sampler=_SeededBatches(sampler, augment or 0),
            collate_fn=_together,
            num_workers=(workers := min(examples.workers, cores())),
            persistent_workers=workers > 0,
            pin_memory=device.type == "cuda",
            generator=torch.Generator(),  # else each epoch would draw from the global generator
        )

    def __iter__(self) -> Iterator[Batch]:
        for batch in self._batches:
            if isinstance(batch, InputError):
                raise batch
            inputs, labels = (part.to(self._device, non_blocking=True) for part in batch)
            yield inputs if self._normalise is None else self._normalise(inputs), labels


class _SeededBatches:
    """The sampler's batches, as lists of (position, seed of the example at this position)."""

    def __init__(self, sampler: Sampler, seed: int) -> None:
        self._sampler, self._seed = sampler, seed

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        random = generator(self._seed, "augmentation", self._sampler.epoch)
        seeds = torch.randint(2**62, (self._sampler.count,), generator=random)
        for batch in self._sampler.batches():
            yield list(zip(batch.tolist(), seeds[batch].tolist(), strict=True))


class _Seeded:
    """Reads each example with torch's generator seeded for it, and restores the global random state afterwards.

    An InputError is returned, since DataLoader would turn one of a worker process into a RuntimeError.
    """

    def __init__(self, read: Read, examples: Examples) -> None:
        self._read, self._examples = read, examples

    def __getitem__(self, item: tuple[int, int]) -> tuple[Tensor, Tensor] | InputError:
        position, seed = item
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            try:
                return self._read(int(self._examples.indices[position])), self._examples.labels[position]
            except InputError as error:
                return error


def _together(examples: list[Any]) -> Any:
    for example in examples:
        if isinstance(example, InputError):
            return example
    shapes = {tuple(x.shape) for x, _ in examples}
    if len(shapes) > 1:
        given = " and ".join(map(str, sorted(shapes)))
        return InputError("dataset", given, "allowed: examples of one shape; pad or cut them in the data set")
    return default_collate(examples)
