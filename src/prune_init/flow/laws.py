"""`conservation`: check whether a net obeys the two conservation theorems, and find the operations that break them."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from prune_init.allowed import MODE
from prune_init.errors import InputError, ModelError, fits
from prune_init.flow.connections import measure
from prune_init.flow.fidelity import check_same, plain_outputs
from prune_init.flow.lawbreakers import lawbreakers
from prune_init.flow.run import run
from prune_init.flow.theorems import Cut, Neurons, cut_sums, neuron_sums
from prune_init.host import with_float64
from prune_init.pruning.chance import forked
from prune_init.pruning.checks import check_batch
from prune_init.pruning.read_only import attributes_kept
from prune_init.pruning.structures import outputs
from prune_init.pruning.undisturbed import undisturbed
from prune_init.pruning.weights import inside
from prune_init.tracing.trace import trace


@dataclass(frozen=True, eq=False)
class Conservation:
    """How well a net obeys the conservation laws.

    Attributes:
        neurons: the sums of theorem 1, by layer.
        cuts: the sums of theorem 2, for one cut before each layer.
        broken: the operations that break the laws on this input, by their place in the model, and the reasons.
    """

    neurons: list[Neurons]
    cuts: list[Cut]
    broken: dict[str, str]

    @property
    def output(self) -> float:
        """<dR/dy, y>, the flow at the output y."""
        return self.cuts[0].output

    @property
    def largest(self) -> float:
        """The largest absolute flow through a neuron or a cut, to which all residuals are relative."""
        sums = [flow.abs().max() for row in self.neurons for flow in (row.incoming, row.outgoing)]
        cuts = [abs(cut.weights + cut.biases) for cut in self.cuts] + [abs(self.output)]
        return float(torch.tensor([*sums, *cuts], dtype=torch.float64).max())

    def residual(self, row: Neurons | Cut) -> float:
        """The gap by which neurons or a cut violate their theorem, relative to the largest flow."""
        return float(row.gap) / self.largest if self.largest else 0.0

    @property
    def max_residual(self) -> float:
        """The largest residual of all neurons and cuts; NaN where a flow is not finite."""
        rows: list[Neurons | Cut] = [*self.neurons, *self.cuts]
        return float(torch.tensor([self.residual(row) for row in rows], dtype=torch.float64).max())

    def holds(self, tol: float = 1e-10) -> bool | None:
        """Whether both theorems hold, with residuals of at most `tol`; None, unknown, where a flow is not finite."""
        return None if math.isnan(self.max_residual) else self.max_residual <= tol


def conservation(
    model: nn.Module, input: Tensor, *, objective: Callable[[Any], Tensor] | None = None, mode: str = "eval"
) -> Conservation:
    """Check the conservation laws of w dR/dw on a net of homogeneous operations, for any scalar R of its output.

    Neuron-wise (theorem 1): at every hidden neuron, the sum of w dR/dw over incoming weights and biases equals the sum
    over outgoing weights. Network-wise (theorem 2): for any cut between input and output,

        sum of w dR/dw over the cut weights + sum of b dR/db over the biases behind the cut = <dR/dy, y>.

    Linear and convolution layers, batch norm, pooling, ReLU and its variants, dropout, sums and concatenations obey
    both laws, at initialisation and after training. Operations that do not, such as tanh and layer norm, are named. A
    weight that a layer computes from other parameters, as with weight norm, counts as it is used.

    Source: Tanaka et al. 2020, "Pruning neural networks without any data by iteratively conserving synaptic flow",
    theorems 1 and 2. Differs from the paper: batch norm is included, with a law for each mode (`layer_flow.py`), and
    the biases of a cut are those behind it (one printed form sums over all biases).

    Args:
        model: any module that torch.fx can trace; it is only read.
        input: a batch of the model's input.
        objective: R, a function of the output that returns one number; default: the sum of all floating-point tensors
            in the output.
        mode: `"train"` or `"eval"`, the state of norm and dropout layers.

    Returns:
        All sums, computed in float64 on copies, and their residuals relative to the largest flow.

    Raises:
        InputError: a bad argument, or a model that cannot be traced, needs another input or has no layer to check.
    """
    model = inside(model)
    MODE.check("mode", mode)
    check_batch("input", input)
    if not input.is_floating_point():
        raise InputError("input", input.dtype, "must be a floating-point tensor, as flow is a derivative")
    every = dict(model.named_parameters(remove_duplicate=False)) | dict(model.named_buffers(remove_duplicate=False))
    if not every:
        raise ModelError(model, "has no parameters")
    if any(is_lazy(t) for t in every.values()):
        raise ModelError(model, "has parameters without a shape yet: run one batch through it first")
    if any(t.is_meta for t in (*every.values(), input)):
        raise InputError("device", "meta", "tensors there have no values; allowed: a model and an input in memory")
    if any(t.is_inference() for t in every.values()):
        raise ModelError(model, "was made in torch.inference_mode; allowed: weights that can be trained")
    device, seed = with_float64(next(iter(every.values())).device), torch.initial_seed()
    with undisturbed(model, device, seed, mode=mode):
        tensors = {
            key: t.detach().to(device, torch.float64 if t.is_floating_point() else t.dtype, copy=True)
            for key, t in every.items()
        }
        x = input.detach().to(device, torch.float64, copy=True)
        copied = copy.copy(model)
        with forked(device, seed), attributes_kept(model):
            graph = trace(copied, input)
        with fits(model, "input", list(input.shape)):
            with forked(device, seed):
                finished = run(graph, copied, tensors, x)
            with forked(device, seed):
                plain = plain_outputs(model, tensors, x.detach())
        check_same(finished, plain)
        flow = measure(finished, _sum if objective is None else objective)
    if not flow.layers:
        raise ModelError(model, "has no linear, convolution or batch norm layer to check")
    return Conservation(neuron_sums(flow), cut_sums(flow), lawbreakers(flow))


def _sum(output: Any) -> Tensor:
    """The sum of all floating-point tensors of an output."""
    return torch.stack([tensor.sum().double() for tensor in outputs(output)]).sum()
