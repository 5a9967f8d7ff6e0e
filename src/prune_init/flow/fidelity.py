"""Whether the net that was traced and run is the net: both give the same outputs."""

import torch
from torch import Tensor, nn

from prune_init.errors import ModelError
from prune_init.flow.run import GraphRun
from prune_init.pruning.masks import Tensors
from prune_init.pruning.plain_run import call
from prune_init.pruning.structures import difference, leaves, outputs


def plain_outputs(model: nn.Module, tensors: Tensors, x: Tensor) -> list[Tensor]:
    """What the model itself returns for x, in float64 like the run or, if its own casts do not allow this, as it is."""
    given = {name: tensors[name].clone() for name, _ in (*model.named_parameters(), *model.named_buffers())}
    try:
        return outputs(call(model, given, {}, x))
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError):
        own = next(t for t in (*model.parameters(), *model.buffers()) if t.is_floating_point())
        return outputs(call(model, {}, {}, x.to(own)))


def check_same(run: GraphRun, plain: list[Tensor]) -> None:
    """Compare the outputs of a run with those of the model itself, up to the rounding of the coarsest type in use.

    Raises:
        InputError: the outputs differ, or there are none.
    """
    followed = outputs(next(reversed(run.values.values())))
    if not plain:
        raise ModelError(run.model, "its output has no floating-point tensor")
    floats = [t for t in (*leaves(list(run.values.values())), *plain) if t.is_floating_point()]
    tolerance = max(torch.finfo(t.dtype).eps for t in floats) ** 0.5
    if difference(followed, plain) > tolerance:
        traced, own = (f"{sum(float(t.sum()) for t in parts):.6g}" for parts in (followed, plain))
        why = f"does not compute what torch.fx traces: outputs with the sum {own}, not {traced}"
        raise ModelError(run.model, f"{why}; look for in-place writes, hooks and state in its forward")
