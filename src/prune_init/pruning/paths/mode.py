"""Run a net in the semiring of paths: a value is 1 where some path from the input arrives, else 0.

Every operation is replaced by what it does to paths while the model's own `forward` runs, so nothing is traced and
control flow does not matter. Weights become their masks, activations and norms the identity, pooling a sum. After
each operation values and, in the backward pass, gradients return to 0 or 1: nothing overflows, and sums of
non-negative numbers cannot cancel, so the answer is exact at every position, padding included.

What depends on neither input nor masks is computed as ever. As a factor, it carries paths where it is not 0; as a
term, none. See `Kind`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from prune_init.errors import first_line
from prune_init.pruning.operations import PATHS, Paths
from prune_init.pruning.paths import elements as path_elements
from prune_init.pruning.paths import pooling as path_pooling
from prune_init.pruning.paths import products as path_products
from prune_init.pruning.paths import recurrent as path_recurrent
from prune_init.pruning.paths import rules as path_rules
from prune_init.pruning.paths.calls import functions_shown, is_composed, taken_apart
from prune_init.pruning.paths.kinds import Kind, Kinds, UnsupportedOperationError, tensors_in
from prune_init.pruning.paths.writes import write, write_part, written
from prune_init.pruning.structures import mapped

RULES = path_products.RULES | path_elements.RULES | path_rules.RULES | path_pooling.RULES | path_recurrent.RULES
NOT_KNOWN = "the effect of {} on paths is not known"


class PathMode(TorchFunctionMode):
    """Inside this context torch functions compute reachability of the tensors that `kinds` knows."""

    def __init__(self, kinds: Kinds) -> None:
        super().__init__()
        self.kinds = kinds

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = {key: value for key, value in (kwargs or {}).items() if key != "out" or value is not None}
        if not args and "input" in kwargs:
            args = (kwargs.pop("input"),)
        name = name_of(func)
        effect = PATHS.get(name.strip("_"))
        if effect is Paths.QUERY:
            return func(*args, **kwargs)
        kind = self._kind(name.strip("_"), effect, args, kwargs)
        if kind <= Kind.CHOICE:
            return self._computed(func, name, kind, args, kwargs)
        if name in _HINTS:
            return args[0]
        with torch.enable_grad():  # in forward's own no_grad, too: paths are what the output depends on
            return self._carried(func, name, kind, args, kwargs)

    def _kind(self, name: str, effect: Paths | None, args: Any, kwargs: Any) -> Kind:
        """The kind of an operation's result."""
        if effect is Paths.CREATION:
            return Kind.CONSTANT
        if effect is Paths.RANDOM:
            if self.kinds.carries((args, kwargs)) and not name.endswith("_like"):
                raise UnsupportedOperationError(NOT_KNOWN.format(name))
            return Kind.RANDOM
        kind = self.kinds.strongest(args[:1] if name in _LIKE else (args, kwargs))
        chosen = any(self.kinds.of(t) is Kind.CHOICE for t in tensors_in((args[1:], kwargs)))
        if name == "embedding" and self.kinds.carries(args, Kind.CHOICE):
            return Kind.PATH
        if kind is Kind.WEIGHT and name in path_products.RULES and self.kinds.of(args[0]) is Kind.CHOICE:
            return Kind.PATH
        if kind is Kind.WEIGHT and chosen and effect is Paths.MOVES and name not in _LIKE:
            raise UnsupportedOperationError(NOT_KNOWN.format(f"{name} of weights that the input chooses"))
        if kind is Kind.CHOICE and chosen and name in _TABLES and args[0].is_floating_point():
            return Kind.PATH if self.kinds.of(args[0]) is not kind else kind
        return max(kind, Kind.RANDOM) if "dropout" in name else kind

    def _computed(self, func: Callable[..., Any], name: str, kind: Kind, args: Any, kwargs: Any) -> Any:
        """What no path leads through has its true values, and can be written to if it was made here."""
        targets = written(func, name, args, kwargs)
        if any(self.kinds.of(target) is None for target in targets):
            raise UnsupportedOperationError(f"{name} writes to a tensor that is neither parameter nor buffer")
        result = func(*args, **kwargs)
        given = {t.untyped_storage()._cdata for t in tensors_in((args, kwargs)) if self.kinds.of(t) is None}
        for tensor in (*tensors_in(result), *targets):
            strided = tensor.layout is torch.strided
            if strided and name not in _BORROWS and tensor.untyped_storage()._cdata not in given:
                self.kinds.mark(tensor, kind)
        return result

    def _carried(self, func: Callable[..., Any], name: str, kind: Kind, args: Any, kwargs: Any) -> Any:
        if name == "__setitem__":
            return write_part(self.kinds, *args)
        if name in _ANSWERS:
            raise UnsupportedOperationError("control flow, or a Python number, depends on values on a path")
        plain = name.strip("_")
        targets = written(func, name, args, kwargs)
        effect = PATHS.get(plain)
        if kwargs.get("out") is not None or (targets and effect in (Paths.MOVES, Paths.CAST)):
            raise UnsupportedOperationError(NOT_KNOWN.format(f"{name} into a given tensor"))
        alone = not self.kinds.carries((args[1:], kwargs))
        if targets and effect is Paths.POINTWISE and alone and self.kinds.of(targets[0]) is Kind.PATH:
            return targets[0]
        if plain not in RULES and effect is None:
            if not is_composed(func):
                raise UnsupportedOperationError(NOT_KNOWN.format(plain))
            with taken_apart(func), self:
                return func(*args, **kwargs)
        numbers = [t for t in tensors_in((args, kwargs)) if t.is_floating_point()]
        dtype = next((t.dtype for t in (*(t for t in numbers if self.kinds.of(t) is kind), *numbers)), torch.float32)
        result = self._result(func, plain, args, kwargs)
        if targets:
            return write(self.kinds, targets[0], result, kind)
        if effect not in (Paths.MOVES, Paths.CAST):  # rules work in float32, whatever the net works in
            result = _typed(result, dtype)
        return self.kinds.mark(result, kind)

    def _result(self, func: Callable[..., Any], name: str, args: Any, kwargs: Any) -> Any:
        if name in RULES:
            try:
                return RULES[name](self.kinds, *args, **kwargs)
            except TypeError as error:
                raise UnsupportedOperationError(f"{name} in this form has no rule: {first_line(error)}") from error
        effect = PATHS[name]
        if effect is Paths.UNION:
            return path_elements.elementwise(self.kinds, func, *args, **kwargs)
        if effect is Paths.PRODUCT:
            return path_elements.multiplication(self.kinds, *args, **kwargs)
        if effect is Paths.QUOTIENT:
            return path_elements.quotient(self.kinds, *(reversed(args) if name.startswith("r") else args), **kwargs)
        if effect is Paths.REDUCTION:
            return path_elements.reduction(self.kinds, name, *args, **kwargs)
        if effect is Paths.POINTWISE:
            return path_elements.pointwise(self.kinds, func, name, *args, **kwargs)
        return self._moved(func, name, effect, args, kwargs)

    def _moved(self, func: Callable[..., Any], name: str, effect: Paths, args: Any, kwargs: Any) -> Any:
        """What torch itself does to a pattern."""
        if effect is Paths.MOVES and self.kinds.carries((args[1:], kwargs)) and name not in _LIKE:
            raise UnsupportedOperationError(NOT_KNOWN.format(f"{name} at places that depend on the input"))
        result = func(*args, **kwargs)
        if not self.kinds.carries((args, kwargs)):  # an embedding, by another name: see Kind.CHOICE
            return torch.ones_like(result)
        integers = effect is Paths.CAST and isinstance(result, Tensor) and not result.is_floating_point()
        return args[0] if integers else result  # token ids and comparisons are patterns, too


@contextmanager
def followed(kinds: Kinds) -> Iterator[None]:
    """Inside, all operations are followed, those in the forward of the net's own autograd functions too."""
    with functions_shown(kinds), PathMode(kinds):
        yield


def name_of(func: Callable[..., Any]) -> str:
    """By the name of the attribute, where one is read."""
    name = getattr(func, "__name__", str(func))
    return getattr(func, "__self__", func).__name__ if name == "__get__" else name


def _typed(result: Any, dtype: torch.dtype) -> Any:
    return mapped(lambda x: x.to(dtype), result)


_LIKE = frozenset("expand_as reshape_as to type_as view_as".split())
_HINTS = frozenset("_cudnn_rnn_flatten_weight detach_ requires_grad_ share_memory_".split())
_TABLES = frozenset("getitem index_select".split())
_ANSWERS = frozenset("__bool__ __int__ __float__ __index__ __complex__ __contains__ item tolist numpy equal".split())
_BORROWS = frozenset("as_tensor asarray from_dlpack from_numpy frombuffer".split())
