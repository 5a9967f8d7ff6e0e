"""`masks=FILE`: existing masks in place of a scorer. Torch is imported only when they are read."""

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from prune_init.errors import InputError, one_of
from prune_init.explain import key_of

if TYPE_CHECKING:
    from torch import Tensor, nn

    from prune_init.pruning.result import PruneResult

NAME = "given"
"""Used in place of the scorer's name."""

CHOOSERS = (
    *("scorer", "schedule", "iterations", "scope", "mode", "target", "ablation", "sample", "method"),
    *("sparsity", "exponent"),
)
"""Keys that decide which weights are pruned, so they do not go with given masks."""


class Facts(NamedTuple):
    """What the configuration needs to know about given masks."""

    sparsity: float
    checksum: str  # of names, shapes and values, not of the file


def read(path: str) -> "dict[str, Tensor]":
    """Read the masks in a file.

    Raises:
        InputError: there is no such file, it does not hold masks, or they keep no weight.
    """
    from prune_init.pruning.masks import load_masks

    try:
        masks = load_masks(path)
    except InputError as error:
        raise InputError("masks", path, str(error).removeprefix(f"path={path}: ")) from None
    if not masks or not any(bool(mask.any()) for mask in masks.values()):
        raise InputError("masks", path, "keep no weight; allowed: masks that leave something to train")
    return masks


def facts(path: str) -> Facts:
    """Sparsity and checksum of the masks in a file; errors as for `read`."""
    try:
        found = Path(path).stat()
    except OSError:
        read(path)  # raises the error that says what is wrong
        raise
    return _facts(path, found.st_mtime_ns, found.st_size)


@cache
def _facts(path: str, *_: int) -> Facts:
    from prune_init.pruning.masks import checksum, count

    masks = read(path)
    kept, size = count(masks), sum(mask.numel() for mask in masks.values())
    return Facts(1 - kept / size, checksum(masks, {}))


def check_alone(overrides: Iterable[str]) -> None:
    """Refuse overrides that decide which weights are pruned, if `masks` is one of the overrides too.

    Raises:
        InputError: naming the first such key.
    """
    given = {key_of(override).partition("@")[0]: override.partition("=")[2] for override in overrides}
    if given.get("masks", "null") in ("null", "None", ""):
        return
    for key, value in given.items():
        if key.partition(".")[0] in CHOOSERS:
            raise InputError(key, value, alone(given["masks"]))


def alone(masks: str) -> str:
    """Why another setting is refused beside `masks`."""
    return f"cannot be combined with masks={masks}, which decide what is pruned; give one of the two"


def check_fit(path: str, weights: "Mapping[str, nn.Parameter]") -> None:
    """Check that there is a mask of the right shape for each of these weights, and no other mask.

    Raises:
        InputError: naming the first one that differs.
    """
    masks = read(path)
    if unknown := sorted(masks.keys() - weights.keys()):
        why = f"has a mask of {unknown[0]}, which this net does not prune; {one_of(unknown[0], weights)}"
        raise InputError("masks", path, why)
    for name, weight in weights.items():
        if name not in masks:
            raise InputError("masks", path, f"has no mask of {name}; to leave it dense: exclude=[{name}]")
        if masks[name].shape != weight.shape:
            there, here = ("x".join(map(str, tensor.shape)) for tensor in (masks[name], weight))
            why = f"{name} has shape {there} in the file and {here} in this net; allowed: masks of this net"
            raise InputError("masks", path, why)


def prune(
    model: "nn.Module", *, path: str, input_shape: tuple[int, ...], include: Any, exclude: Any, data: Any = None
) -> "PruneResult":
    """Apply the masks in a file to `model` in place, with the result that `prune_init.prune` returns; reads no data.

    Raises:
        InputError: the masks do not fit.
    """
    from prune_init.pruning import masks as masking
    from prune_init.pruning.connectivity import assess
    from prune_init.pruning.cost import Cost
    from prune_init.pruning.result import PruneResult
    from prune_init.pruning.weights import prunable

    weights = prunable(model, include=include, exclude=exclude)
    check_fit(path, weights)
    found = read(path)
    masks = {name: found[name].to(weight.device) for name, weight in weights.items()}
    masking.apply(masks, weights)
    return PruneResult(
        masks=masks,
        scores={},
        connectivity=assess(model, masks, input_shape),
        cost=Cost(0, 0),
        settings={"scorer": NAME, **facts(path)._asdict()},
        weights=dict(weights),
        model=model,
    )
