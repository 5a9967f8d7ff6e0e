"""Weights whose memory overlaps with that of another tensor: pruning one of them would change the other."""

from collections.abc import Collection, Iterator

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from prune_init.errors import InputError

OWN = "its own memory: p.data = p.data.contiguous().clone()"


def check_memory(model: nn.Module, names: Collection[str]) -> None:
    """Refuse weights that share elements with another parameter or buffer, or repeat an element.

    Views of one memory that do not overlap, such as the flattened weights of an RNN, are allowed, and so is one
    `Parameter` in several layers.

    Raises:
        InputError: naming the weight, the other tensor and the way out.
    """
    tensors = {name: t for name, t in (*model.named_parameters(), *model.named_buffers()) if _has_memory(t)}
    for name in names:
        if name in tensors and _repeats(tensors[name]):
            raise InputError("model", name, f"repeats elements in memory, as after expand; give it {OWN}")
    for one, other in _neighbours(tensors):
        if (one in names or other in names) and _overlap(tensors[one], tensors[other]):
            way_out = f"use one Parameter in both places, or give {other} {OWN}"
            raise InputError("model", one, f"shares memory with {other}; {way_out}")


def _has_memory(tensor: Tensor) -> bool:
    return not is_lazy(tensor) and tensor.layout is torch.strided and not tensor.is_meta and tensor.numel() > 0


def _start(tensor: Tensor) -> int:
    """The place of the first byte in the storage."""
    return int(tensor.storage_offset()) * tensor.element_size()


def _span(tensor: Tensor) -> int:
    """The number of elements in memory from the first to the last one."""
    return 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))


def _neighbours(tensors: dict[str, Tensor]) -> Iterator[tuple[str, str]]:
    """Pairs of tensors in one storage of which the second begins before the first one ends."""
    storages: dict[int, list[str]] = {}
    for name in sorted(tensors, key=lambda name: _start(tensors[name])):
        storages.setdefault(tensors[name].untyped_storage()._cdata, []).append(name)
    for names in storages.values():
        for position, one in enumerate(names):
            end = _start(tensors[one]) + _span(tensors[one]) * tensors[one].element_size()
            for other in names[position + 1 :]:
                if _start(tensors[other]) >= end:
                    break
                yield one, other


def _overlap(first: Tensor, second: Tensor) -> bool:
    """Whether two neighbours share an element: surely if the first one has no gaps."""
    return _span(first) == first.numel() or bool(torch.isin(_bytes(first), _bytes(second)).any())


def _bytes(tensor: Tensor) -> Tensor:
    """The places of all bytes of the tensor in its storage, int64."""
    width = tensor.element_size()
    elements = torch.arange(_span(tensor)).as_strided(tensor.shape, tensor.stride()).flatten()
    return (_start(tensor) + elements[:, None] * width + torch.arange(width)).flatten()


def _repeats(tensor: Tensor) -> bool:
    """Whether an element is at several places: unless each stride leads beyond what the smaller ones reach."""
    reach = 0
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size > 1 and stride <= reach:
            return True
        reach += stride * (size - 1)
    return False
