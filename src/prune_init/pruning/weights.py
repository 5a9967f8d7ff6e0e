"""Which parameters are pruned: the weights of every Conv and Linear layer, nothing else."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.parameter import Parameter, is_lazy

from prune_init.errors import InputError

Patterns = str | Sequence[str] | None


def prunable(model: nn.Module, *, include: Patterns = None, exclude: Patterns = None) -> dict[str, Parameter]:
    """The weights that pruning may remove, in the order and by the names of `model.named_parameters()`.

    These are the weights of every Conv and Linear layer, shortcuts and classifier included, and the projections
    of `nn.MultiheadAttention`, which are linear maps kept as bare parameters. Biases, norm layers and embeddings
    are never pruned. A weight shared by several layers appears once, under its first name.

    Args:
        model: any module.
        include: shell-style patterns of parameter names (`"layer1.*"`); only matches are pruned.
        exclude: patterns of names to leave dense, applied after `include`.

    Raises:
        InputError: no module, nothing is left to prune, a pattern matches nothing, or a tensor has no shape yet.
    """
    if not isinstance(model, nn.Module):
        raise InputError("model", type(model).__name__, "allowed: a torch.nn.Module")
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if is_lazy(tensor):
            raise InputError("model", type(model).__name__, f"{name} has no shape yet: run one batch through it first")
    wanted = {id(weight) for module in model.modules() for weight in _linear_maps(module)}
    weights = {name: p for name, p in model.named_parameters() if id(p) in wanted}
    if not weights:
        raise InputError("model", type(model).__name__, "has no Conv or Linear weight to prune")
    chosen = set(_matching("include", include, weights)) if include is not None else set(weights)
    if exclude is not None:
        chosen -= set(_matching("exclude", exclude, weights))
    if not chosen:
        key, value = ("include", include) if exclude is None else ("exclude", exclude)
        raise InputError(key, value, "leaves no weight to prune")
    return {name: weight for name, weight in weights.items() if name in chosen}


def _linear_maps(module: nn.Module) -> list[Tensor]:
    if isinstance(module, (_ConvNd, nn.Linear, nn.Bilinear)):
        return [module.weight]
    if isinstance(module, nn.MultiheadAttention):
        parts = (module.in_proj_weight, module.q_proj_weight, module.k_proj_weight, module.v_proj_weight)
        return [weight for weight in parts if weight is not None]
    return []


def _matching(key: str, patterns: Patterns, weights: dict[str, Parameter]) -> list[str]:
    found: list[str] = []
    chosen = [patterns] if isinstance(patterns, str) else patterns
    if not isinstance(chosen, Sequence) or not all(isinstance(pattern, str) for pattern in chosen):
        raise InputError(key, patterns, "allowed: a pattern of weight names, or a list of them")
    for pattern in chosen:
        matches = [name for name in weights if fnmatchcase(name, pattern)]
        if not matches:
            raise InputError(key, pattern, "matches no prunable weight; allowed: patterns of " + ", ".join(weights))
        found += matches
    return found
