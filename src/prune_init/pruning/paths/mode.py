"""Run a net in the semiring of paths: a value is 1 where some path from the input arrives, else 0.

The model's own `forward` runs with every operation replaced by its effect on paths; nothing is traced, so Python
control flow needs no special treatment. Weights become their masks, activations and norms the identity, pooling a
sum. After each operation values, and in the backward pass gradients, are rounded to 0 or 1, so that nothing overflows.
Sums of non-negative numbers cannot cancel, so the answer is exact at every position, padding included.

Values that depend on neither the input nor the masks are computed as usual. As a factor, such a value lets paths pass
where it is not 0; as a term, it begins none. See `Kind`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from prune_init.errors import first_line
from prune_init.pruning.behaviour import Operation, Paths
from prune_init.pruning.operations import lookup, name_of, plain
from prune_init.pruning.paths import arithmetic as path_arithmetic
from prune_init.pruning.paths import elements as path_elements
from prune_init.pruning.paths import pooling as path_pooling
from prune_init.pruning.paths import products as path_products
from prune_init.pruning.paths import recurrent as path_recurrent
from prune_init.pruning.paths import rules as path_rules
from prune_init.pruning.paths.calls import functions_shown, is_composed, taken_apart
from prune_init.pruning.paths.kinds import NOT_KNOWN, Kind, Kinds, UnsupportedOperationError
from prune_init.pruning.paths.writes import write, write_part, written
from prune_init.pruning.structures import leaves, mapped

RULES = path_products.RULES | path_elements.RULES | path_arithmetic.RULES | path_rules.RULES
RULES |= path_pooling.RULES | path_recurrent.RULES


class PathMode(TorchFunctionMode):
    """While this mode is active, torch functions compute paths instead of values for tensors of kind WEIGHT or PATH."""

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
        name, operation = name_of(func), lookup(func)
        effect = operation.paths if operation else None
        if effect is Paths.QUERY:
            return func(*args, **kwargs)
        kind = self._kind(plain(name), operation, args, kwargs)
        if kind <= Kind.CHOICE:
            return self._computed(func, name, effect, kind, args, kwargs)
        if effect is Paths.HINT:
            return args[0]
        with torch.enable_grad():  # even inside the net's own no_grad, as the output depends on what runs there
            return self._carried(func, name, operation, kind, args, kwargs)

    def _kind(self, name: str, operation: Operation | None, args: Any, kwargs: Any) -> Kind:
        """The kind of an operation's result."""
        effect = operation.paths if operation else None
        if effect is Paths.CREATION:
            return Kind.CONSTANT
        if operation and operation.draws:
            if effect is Paths.RANDOM and self.kinds.carries((args, kwargs)):
                raise UnsupportedOperationError(NOT_KNOWN.format(name))
            return Kind.RANDOM
        first = None if not args else self.kinds.of(args[0])
        kind = self.kinds.strongest(args[:1] if effect in _LIKE else (args, kwargs))
        chosen = any(self.kinds.of(t) is Kind.CHOICE for t in leaves((args[1:], kwargs)))
        if effect is Paths.EMBEDDING and self.kinds.carries(args, Kind.CHOICE):
            return Kind.PATH
        if kind is Kind.WEIGHT and effect in path_products.RULES and first is Kind.CHOICE:
            return Kind.PATH
        if kind is Kind.WEIGHT and chosen and operation and operation.moves and effect not in _LIKE:
            raise UnsupportedOperationError(NOT_KNOWN.format(f"{name} of weights that the input chooses"))
        if kind is Kind.CHOICE and chosen and effect is Paths.LOOKUP and args[0].is_floating_point():
            return Kind.PATH if first is not kind else kind
        return max(kind, Kind.RANDOM) if effect is Paths.DROPOUT else kind

    def _computed(self, func: Callable[..., Any], name: str, effect: Any, kind: Kind, args: Any, kwargs: Any) -> Any:
        """Compute true values, where no path or weight is involved; only tensors of a known kind may be written to."""
        targets = written(func, name, args, kwargs)
        if any(self.kinds.of(target) is None for target in targets):
            raise UnsupportedOperationError(f"{name} writes to a tensor that is neither parameter nor buffer")
        result = func(*args, **kwargs)
        given = {t.untyped_storage()._cdata for t in leaves((args, kwargs)) if self.kinds.of(t) is None}
        for tensor in (*leaves(result), *targets):
            strided = tensor.layout is torch.strided
            if strided and effect is not Paths.BORROWS and tensor.untyped_storage()._cdata not in given:
                self.kinds.mark(tensor, kind)
        return result

    def _carried(
        self, func: Callable[..., Any], name: str, operation: Operation | None, kind: Kind, args: Any, kwargs: Any
    ) -> Any:
        if name == "__setitem__":
            return write_part(self.kinds, *args)
        effect = operation.paths if operation else None
        if effect is Paths.ANSWER:
            raise UnsupportedOperationError("control flow, or a Python number, depends on values on a path")
        targets = written(func, name, args, kwargs)
        keeps = operation is not None and (operation.moves or effect is Paths.CAST)
        if kwargs.get("out") is not None or (targets and keeps):
            raise UnsupportedOperationError(NOT_KNOWN.format(f"{name} into a given tensor"))
        alone = not self.kinds.carries((args[1:], kwargs))
        each = effect in (Paths.POINTWISE, Paths.DROPOUT)
        if targets and each and alone and self.kinds.of(targets[0]) is Kind.PATH:
            if func(torch.zeros_like(args[0]), *args[1:], **kwargs).any():
                self.kinds.shift(targets[0])
            return targets[0]
        if effect not in RULES and not keeps:
            if not is_composed(func):
                raise UnsupportedOperationError(NOT_KNOWN.format(plain(name)))
            with taken_apart(func), self:
                return func(*args, **kwargs)
        numbers = [t for t in leaves((args, kwargs)) if t.is_floating_point()]
        dtype = next((t.dtype for t in (*(t for t in numbers if self.kinds.of(t) is kind), *numbers)), torch.float32)
        result = self._result(func, plain(name), effect, args, kwargs)
        if targets:
            return write(self.kinds, targets[0], result, kind)
        if not keeps:  # rules work in float32, whatever the net works in
            result = mapped(lambda x: self._cast(x, dtype), self.kinds.mark(result, kind))
        return self.kinds.mark(result, kind)

    def _result(self, func: Callable[..., Any], name: str, effect: Any, args: Any, kwargs: Any) -> Any:
        if effect not in RULES:
            return self._moved(func, name, effect, args, kwargs)
        try:
            return RULES[effect](self.kinds, func, *args, **kwargs)
        except TypeError as error:
            raise UnsupportedOperationError(f"{name} in this form has no rule: {first_line(error)}") from error

    def _moved(self, func: Callable[..., Any], name: str, effect: Paths, args: Any, kwargs: Any) -> Any:
        """Let torch itself move the elements of a pattern."""
        if effect not in _LIKE:
            self.kinds.check_fixed((args[1:], kwargs), name)
        result = func(*args, **kwargs)
        if not self.kinds.carries((args, kwargs)):  # the input chooses the indices, as in an embedding: Kind.CHOICE
            return torch.ones_like(result)
        integers = effect is Paths.CAST and isinstance(result, Tensor) and not result.is_floating_point()
        if integers:
            return args[0]  # a pattern stays in floating point, so that it keeps its gradient
        if effect is not Paths.STRIDED:  # the memory of `nonzero` may have another order
            for place, part in enumerate(leaves(result)):
                if part is args[0]:  # such as `x.float()` of float32: what is known of it stays
                    continue
                self.kinds.computes(part, partial(self._nonzero_moved, func, place, args, kwargs))
        return result

    def _nonzero_moved(self, func: Callable[..., Any], place: int, args: Any, kwargs: Any) -> Tensor:
        return leaves(func(self.kinds.nonzero(args[0]), *args[1:], **kwargs))[place]

    def _cast(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        return x if x.dtype == dtype else self.kinds.computes(x.to(dtype), lambda: self.kinds.nonzero(x))


@contextmanager
def followed(kinds: Kinds) -> Iterator[None]:
    """Follow paths through all operations in the context, including those in custom autograd functions."""
    with functions_shown(kinds), PathMode(kinds):
        yield


_LIKE = frozenset((Paths.MOVES_LIKE, Paths.CAST))
