"""Which parameters are pruned: by default the weights of every Conv, Linear, recurrent and attention layer."""

import fnmatch
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.parameter import Parameter, is_lazy

from prune_init.errors import InputError, ModelError

Patterns = str | Sequence[str] | None

T = TypeVar("T")

LARGE = 0.01
"""A matrix that is left dense causes a warning if it holds more than this fraction of all parameters."""


def inside(model: nn.Module) -> nn.Module:
    """The net inside any wrappers of `DataParallel`, `DistributedDataParallel` and `torch.compile`.

    Raises:
        InputError: `model` is not a module.
    """
    if not isinstance(model, nn.Module):
        raise ModelError(model, "allowed: a torch.nn.Module")
    net: Any = model
    parallel = (nn.DataParallel, nn.parallel.DistributedDataParallel)
    while isinstance(net, parallel) or hasattr(net, "_orig_mod"):  # torch.compile's wrapper; its class imports slowly
        net = net.module if isinstance(net, parallel) else net._orig_mod
    return net


def plainly_named(tensors: Mapping[str, T], own: Iterable[str]) -> dict[str, T]:
    """Rename tensors to the names in `own`: wrappers around a net or parts of it add prefixes to parameter names."""
    unwrapped = {_unwrapped(name): name for name in own}
    known = set(unwrapped.values())
    return {name if name in known else unwrapped.get(_unwrapped(name), name): t for name, t in tensors.items()}


def _unwrapped(name: str) -> str:
    """The name without the parts added by `DataParallel`, DDP, `torch.compile` and checkpointing wrappers."""
    for part in ("_orig_mod.", "_checkpoint_wrapped_module."):
        name = name.replace(part, "")
    while name.startswith("module."):
        name = name.removeprefix("module.")
    return name


def has_computed_weight(module: nn.Module) -> bool:
    """Whether a layer's weight is not a parameter but computed from others (weight norm, parametrisation, ...)."""
    return not _matrices(module) <= set(module._parameters.keys())  # a list in a scripted module


def _matrices(module: nn.Module) -> set[str]:
    """The names of the matrices of a layer that is a linear map or is made of some; a layer may leave some None."""
    if isinstance(module, (_ConvNd, nn.Linear, nn.Bilinear)):
        return {"weight"}
    if isinstance(module, (nn.RNNBase, nn.RNNCellBase)):
        names = getattr(module, "_flat_weights_names", ("weight_ih", "weight_hh"))
        return {name for name in names if name.startswith("weight_")}
    if isinstance(module, nn.MultiheadAttention):
        return {"in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"}
    return set()


def prunable(model: nn.Module, *, include: Patterns = None, exclude: Patterns = None) -> dict[str, Parameter]:
    """The prunable weights, with the names and in the order of `model.named_parameters()`.

    By default these are the weights of Conv, Linear and Bilinear layers, shortcuts and classifier included, the
    matrices of recurrent layers, and the projections of `nn.MultiheadAttention`; biases, norm layers and embeddings
    are not pruned. A weight shared by several layers appears once, under its first name.

    Args:
        model: any module; names are those of the net inside `DataParallel`, DDP and `torch.compile`.
        include: shell-style patterns of parameter names (`"layer1.*"`); only matches are pruned. A pattern that
            matches none of the weights above selects among all other parameters with two or more axes.
        exclude: patterns of names to leave dense, applied after `include`.

    Raises:
        InputError: `model` is no module, a pattern matches nothing, nothing is left to prune, or a tensor has no shape.
    """
    model = inside(model)
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if is_lazy(tensor):
            raise ModelError(model, f"{name} has no shape yet: run one batch through it first")
    usual, more = _candidates(model)
    if not usual and include is None:
        raise ModelError(model, "has no Conv or Linear weight to prune; choose other parameters with include=")
    chosen = set(_matching("include", include, usual, more)) if include is not None else set(usual)
    if exclude is not None:
        chosen -= set(_matching("exclude", exclude, usual, more))
    if not chosen:
        key, value = ("include", include) if exclude is None else ("exclude", exclude)
        raise InputError(key, value, "leaves no weight to prune")
    return {name: weight for name, weight in model.named_parameters() if name in chosen}


def prunable_by_default(model: nn.Module) -> dict[str, Parameter]:
    """The weights that `prunable` names without patterns; there may be none."""
    return _candidates(inside(model))[0]


def warn_of_others(model: nn.Module, chosen: Mapping[str, Tensor]) -> None:
    """Warn of large matrices of unknown purpose that are left dense, with their share of all parameters."""
    _, more = _candidates(model)
    known = {id(m.weight) for m in model.modules() if isinstance(m, (nn.Embedding, nn.EmbeddingBag))}
    known |= {id(p) for m in model.modules() for p in _used_in_computed_weights(m)}
    total = sum(p.numel() for p in model.parameters())
    shares = {
        name: weight.numel() / total
        for name, weight in more.items()
        if name not in chosen and id(weight) not in known and weight.numel() > LARGE * total
    }
    if shares:
        listed = ", ".join(f"{name} ({share:.1%} of all parameters)" for name, share in shares.items())
        warnings.warn(
            f"left dense, because no Conv, Linear or recurrent layer holds it: {listed}; use include= to prune it",
            stacklevel=4,
        )


def _candidates(model: nn.Module) -> tuple[dict[str, Parameter], dict[str, Parameter]]:
    """The weights pruned by default, and the other parameters with two or more axes."""
    # `_parameters`, as reading the attribute might compute a weight, which can change buffers
    wanted = {id(module._parameters.get(name)) for module in model.modules() for name in _matrices(module)}
    usual = {name: p for name, p in model.named_parameters() if id(p) in wanted}
    more = {name: p for name, p in model.named_parameters() if id(p) not in wanted and p.ndim > 1 and len(p) > 1}
    return usual, more


def _used_in_computed_weights(module: nn.Module) -> Iterator[Tensor]:
    """The parameters that a layer's weight is computed from; `check_weights` warns of such layers."""
    if isinstance(module, nn.utils.parametrize.ParametrizationList):
        yield from module.parameters()
    for name in ("weight_v", "weight_orig"):  # weight_norm; spectral_norm and torch.nn.utils.prune
        if isinstance(getattr(module, name, None), Tensor):
            yield getattr(module, name)


def _matching(key: str, patterns: Patterns, usual: Mapping[str, Tensor], more: Mapping[str, Tensor]) -> list[str]:
    found: list[str] = []
    chosen = [patterns] if isinstance(patterns, str) else patterns
    if not isinstance(chosen, Sequence) or not all(isinstance(pattern, str) for pattern in chosen):
        raise InputError(key, patterns, "allowed: a pattern of weight names, or a list of them")
    for pattern in chosen:
        matches = [name for name in usual if fnmatch.fnmatchcase(name, pattern)]
        matches = matches or [name for name in more if fnmatch.fnmatchcase(name, pattern)]
        if not matches:
            raise InputError(key, pattern, "matches no prunable weight; allowed: patterns of " + ", ".join(usual))
        found += matches
    return found
