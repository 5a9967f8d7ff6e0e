"""Numbers that a forward computes from sizes and decides by: taken as for the example while the net is traced."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn

from prune_init.errors import InputError
from prune_init.pruning.behaviour import Paths
from prune_init.pruning.read_only import only_read
from prune_init.tracing.nodes import in_place, known

BATCHES = (2, 3)
"""The batch sizes for which such a number must be the same: nets are traced for batches of any size."""


KINDS: dict[str, Callable[[Any], Any]] = {"bool": bool, "int": int, "len": len}
"""What a forward asks of a number, or of several, to decide."""


class Examples:
    """The values at the nodes of a graph that is being traced, for batches like an example."""

    def __init__(self, model: nn.Module, graph: fx.Graph, example: Tensor) -> None:
        self._model, like = model, next(model.parameters(), example)
        dtype = like.dtype if example.is_floating_point() else example.dtype
        self._runs = [fx.Interpreter(model, garbage_collect_values=False, graph=graph) for _ in BATCHES]
        for run, size in zip(self._runs, BATCHES, strict=True):
            run.args_iter = iter([torch.zeros((size, *example.shape[1:]), dtype=dtype, device=like.device)])

    @torch.no_grad()
    def number(self, node: fx.Node, kind: str) -> Any:
        """The value of a node that depends on sizes and types alone, as a length always does, as one of `KINDS`.

        Raises:
            LookupError: it depends on more, or on the size of the batch.
        """
        if kind != "len" and not _by_sizes(node, self._model):
            raise LookupError("its forward decides by values")
        with only_read(self._model):  # in train mode batch norms write to their buffers
            for run in self._runs:
                for earlier in node.graph.nodes:
                    if earlier not in run.env:
                        run.env[earlier] = run.run_node(earlier)
        first, second = (KINDS[kind](run.env[node]) for run in self._runs)
        if first != second:
            raise LookupError("its forward decides by the size of the batch")
        return first


def check_size(found: Any, kind: str, expected: Any) -> None:
    """Refuse an input for which a net that was traced would decide otherwise than for its example.

    Raises:
        InputError: naming what was found.
    """
    found = KINDS[kind](found)
    # Symbolic truth values, as `torch.compile` and `torch.export` give, cannot be compared with others.
    differs = not found if expected is True else found if expected is False else found != expected
    if differs:
        why = f"{expected!r} for the example: the net decides by it; allowed: inputs of the example's size and type"
        raise InputError("input", found, why)


def acts(node: fx.Node, model: nn.Module) -> bool:
    """Whether a call does something besides its result: it changes a tensor in place, or checks a size."""
    return node.op.startswith("call") and (node.target is check_size or in_place(node, model))


def _by_sizes(node: fx.Node, model: nn.Module) -> bool:
    found = known(node, model)
    if found and found.paths is Paths.QUERY:
        return True
    plain = getattr(node.target, "__module__", "") in ("_operator", "builtins", "math")
    return plain and all(_by_sizes(source, model) for source in node.all_input_nodes)
