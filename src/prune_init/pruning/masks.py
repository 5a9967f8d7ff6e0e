"""Masks: ranking weights within layers, applying masks, and storing them."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from prune_init.errors import InputError, first_line
from prune_init.files import whole

Tensors = dict[str, Tensor]

PIECE = 1 << 17
"""Number of elements processed at a time: one megabyte of float64, which fits into a processor's cache."""

CHECKSUM = "sha256"
"""Metadata key of a mask file for the checksum over the rest of its content, which detects damaged files."""


def rank_in_layer(scores: Tensors, candidates: Tensors, densities: Mapping[str, float] | None = None) -> Tensors:
    """Scores with which a global selection keeps the same fraction of every layer, or the fractions `densities`.

    In a layer of n weights, the candidate of rank r (0 = highest score) gets -(r + 1/2) / n; weights that are not
    candidates get -1. The k highest of these over the whole net are the best round(d n) of each layer, up to rounding
    that makes the total exactly k, and the selections are nested: a smaller k never keeps a weight that a larger k
    removes. With densities d the candidate gets -(r + 1/2) / (n d); a layer of density 1 gets zeros, so that rounding
    of the total never takes a weight from it.
    """
    ranked = {}
    for name, score in scores.items():
        live = candidates[name]
        order = score[live].argsort(descending=True, stable=True)
        ranks = torch.empty(len(order), dtype=torch.float64, device=score.device)
        ranks[order] = torch.arange(len(order), dtype=torch.float64, device=score.device)
        density = 1.0 if densities is None else densities[name]
        worth = torch.zeros_like(ranks) if densities and density == 1 else -(ranks + 0.5) / (score.numel() * density)
        ranked[name] = torch.full(score.shape, -1.0, dtype=torch.float64, device=score.device)
        ranked[name][live] = worth
    return ranked


def count(masks: Mapping[str, Tensor]) -> int:
    """The number of kept weights."""
    return int(sum(torch.count_nonzero(mask) for mask in masks.values()))


def fill(tensor: Tensor, where: Tensor, value: float) -> None:
    """Set elements of a contiguous tensor in place; `where` is a boolean mask or a vector of flat indices."""
    if where.dtype == torch.bool:
        tensor.masked_fill_(where.view_as(tensor), value)
    else:
        tensor.view(-1).index_fill_(0, where, value)


def copies(tensors: Tensors) -> Tensors:
    """Copies of the tensors, made with one call per dtype, which needs fewer kernel launches on a GPU."""
    new = {name: torch.empty_like(tensor) for name, tensor in tensors.items()}
    for dtype in {tensor.dtype for tensor in tensors.values()}:
        names = [name for name, tensor in tensors.items() if tensor.dtype == dtype]
        torch._foreach_copy_([new[name] for name in names], [tensors[name] for name in names])
    return new


def total(parts: Iterable[Tensors]) -> Tensors:
    """The sum of dictionaries of tensors, name by name."""
    parts = iter(parts)
    summed = next(parts)
    for part in parts:
        summed = {name: tensor + part[name] for name, tensor in summed.items()}
    return summed


def indices_of(mask: Tensor) -> Tensor:
    """The int64 indices at which a boolean vector on a CPU is True."""
    return torch.from_numpy(mask.numpy().nonzero()[0])  # ten times faster than torch's


@torch.no_grad()
def apply(masks: Tensors, weights: Mapping[str, Tensor]) -> None:
    """Set every pruned weight to exactly 0.0, in place."""
    for name, mask in masks.items():
        weights[name].masked_fill_(~mask.to(weights[name].device), 0.0)


def save(path: str | os.PathLike[str], masks: Tensors, metadata: Mapping[str, object]) -> None:
    """Write masks as safetensors, atomically, with `metadata` values as JSON and a checksum.

    Raises:
        InputError: the file cannot be written, for instance because its folder does not exist.
    """
    notes = {key: json.dumps(value) for key, value in metadata.items()}
    held = {name: mask.detach().cpu().contiguous() for name, mask in masks.items()}
    try:
        with whole(Path(path)) as partial:
            save_file(held, partial, {**notes, CHECKSUM: checksum(held, notes)})
    except (SafetensorError, OSError) as error:
        raise InputError("path", path, f"cannot be written ({first_line(error)})") from None


def load_masks(path: str | os.PathLike[str]) -> Tensors:
    """Load masks that `PruneResult.save` wrote: boolean tensors by parameter name, True = kept.

    Raises:
        InputError: the file is missing or damaged, or holds something other than masks.
    """
    try:
        with safe_open(path, "pt") as file:
            notes = file.metadata() or {}
            masks = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dictionary)
    except FileNotFoundError:
        raise InputError("path", path, "no such file; expected masks written by PruneResult.save") from None
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise InputError("path", path, f"not a readable safetensors file ({error})") from None
    for name, mask in masks.items():
        if mask.dtype != torch.bool:
            raise InputError("path", path, f"{name} is {mask.dtype}, but masks are torch.bool")
    if CHECKSUM in notes and notes.pop(CHECKSUM) != checksum(masks, notes):
        raise InputError("path", path, "damaged: its contents do not have its checksum")
    return masks


def checksum(masks: Tensors, notes: Mapping[str, str]) -> str:
    """SHA-256 over metadata, names, shapes and values; it does not depend on how the file lays them out."""
    digest = hashlib.sha256(json.dumps(dict(notes), sort_keys=True).encode())
    for name, mask in sorted(masks.items()):
        digest.update(f"{name} {tuple(mask.shape)}".encode())
        digest.update(mask.contiguous().numpy().tobytes())
    return digest.hexdigest()
