"""What a scorer sees: the model as a function of its weights, on copies that it cannot harm."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from prune_init.errors import InputError, fits
from prune_init.pruning import sample
from prune_init.pruning.cost import Ledger
from prune_init.pruning.masks import Tensors
from prune_init.pruning.plain_run import backward_alone
from prune_init.pruning.read_only import attributes_kept
from prune_init.pruning.sample import Batch, Loss
from prune_init.pruning.structures import arguments, leaves, mapped, outputs

Call = Callable[[nn.Module, Tensors, Tensors, Any], Any]
"""Runs a model on an input, with these weights and these other tensors in place of its own."""


def call(model: nn.Module, weights: Tensors, others: Tensors, x: Any) -> Any:
    """What the model returns for a copy of x: some nets write to their input, or remember something."""
    args, kwargs = arguments(model, mapped(Tensor.clone, x))
    with attributes_kept(model, numbers=False):
        return functional_call(model, {**others, **weights}, args, kwargs)


@dataclass
class ScoredNet:
    """The model while it is scored. Nothing done through it changes the model.

    Attributes:
        weights: the prunable weights as they are now, in the scoring dtype: pruned ones are 0.0.
        dense: the prunable weights as at the start; None unless pruned weights may return.
        others: copies of every other parameter and of the buffers.
        masks: boolean tensors by weight name, True = still there.
        density: fraction of weights that this iteration will keep.
        input_shape: (C, H, W) of one example, if known.
        example: a batch of the model's input, if given: tensors in any structure.
        loss: maps what the model returned and a target to the mean loss of the batch.
        generator: the source of all randomness while scoring.
        ledger: counts what scoring costs.
        examples: how many a scorer looks at per iteration: the pruning sample, the all-ones input, or its own.
        call: how the model is run.
        seen: the last input that the model was run on, and its target, if any.
    """

    model: nn.Module
    weights: Tensors
    others: Tensors
    masks: Tensors
    loss: Loss
    generator: torch.Generator
    dense: Tensors | None = None
    data: Iterable[Batch] | None = None
    input_shape: Sequence[int] | None = None
    example: Any = None
    density: float = 1.0
    ledger: Ledger = field(default_factory=Ledger)
    examples: int = 0
    call: Call = call
    seen: tuple[Any, Any] | None = None
    _batches: list[Batch] | None = None
    _ones: Any = None
    _changed: Callable[["ScoredNet"], None] | None = None

    def masked_weights(self) -> Tensors:
        """The weights as leaves to differentiate by. They share the memory of `weights`: read them, do not write."""
        return {name: w.detach().requires_grad_() for name, w in self.weights.items()}

    def with_batches(self, batches: list[Batch]) -> "ScoredNet":
        """The same net with these batches for its pruning sample."""
        return replace(self, _batches=batches)

    def once(self, change: Callable[["ScoredNet"], None]) -> None:
        """Let a scorer change its copies at its first call only."""
        if self._changed is None:
            change(self)
            self._changed = change

    def __call__(self, weights: Tensors, x: Any, others: Tensors | None = None) -> Any:
        """What the model returns for input x, (N, C, H, W) or a structure of tensors, with these weights.

        The model gets copies of x and of its other tensors, so that every pass sees the same; with `others` it reads
        and writes those. Differentiable by `weights` and `others`.

        Raises:
            InputError: the model cannot be run on such an input, or writes to its weights.
        """
        self.ledger.forward += sample.size(x)
        given = {name: t.clone() for name, t in self.others.items()} if others is None else others
        before = self._noted(weights)
        # Fused attention has no second derivative.
        with fits(self.model, *self._origin(x), hint=self._hint), sdpa_kernel(SDPBackend.MATH):
            output = self.call(self.model, weights, given, x)
        if self._noted(weights, before) != before:
            raise InputError(
                "model", type(self.model).__name__, "writes to its weights in its forward; allowed: to read"
            )
        self.seen = (x, None)
        return output

    def summed(self, output: Any) -> Tensor:
        """The sum of everything that the model returned, in floating point: SynFlow's R."""
        sums = [tensor.sum() for tensor in outputs(output)]
        if not sums:
            raise InputError("model", type(self.model).__name__, "returns no floating-point tensor to score by")
        return torch.stack(sums).sum()

    def gradient(self, scalar: Tensor, weights: Tensors, examples: int, *, twice: bool = False) -> Tensors:
        """d scalar / d weights by name; `twice` keeps the graph for a second derivative."""
        self.ledger.backward += examples
        if not scalar.requires_grad:
            why = "its output depends on none of its weights (torch.no_grad or detach in its forward?)"
            raise InputError("model", type(self.model).__name__, why)
        with backward_alone(self.model):
            found = torch.autograd.grad(scalar, list(weights.values()), create_graph=twice, materialize_grads=True)
        # Scorers go on in place: no gradient may be a view that repeats its elements.
        return {name: g if twice else g.contiguous() for name, g in zip(weights, found, strict=True)}

    def losses(self, weights: Tensors, temperature: float = 1.0) -> Iterator[tuple[Tensor, int]]:
        """Per batch of the pruning sample: its share of the mean loss of outputs / temperature, and its size.

        Shares are weighted by size: in eval mode their sum does not depend on how the sample is split.
        """
        counts = [sample.weight(batch, self.loss) for batch in self.batches]
        for (x, y), count in zip(self.batches, counts, strict=True):
            if count:
                output = self(weights, x)
                self.seen = (x, y)
                yield sample.loss_of(self.loss, _cooled(output, temperature), y) * (count / sum(counts)), sample.size(x)

    def loss_gradient(self, weights: Tensors, temperature: float = 1.0) -> Tensors:
        """Gradient of the mean loss over the whole pruning sample, one batch in memory at a time."""
        return total(self.gradient(loss, weights, n) for loss, n in self.losses(weights, temperature))

    def hessian_times(self, vector: Tensors, weights: Tensors, temperature: float = 1.0) -> Tensors:
        """H v of the same mean loss without H: the gradient of <dL/dw, v>, batch by batch."""

        def products() -> Iterator[Tensors]:
            for loss, n in self.losses(weights, temperature):
                gradients = self.gradient(loss, weights, n, twice=True)
                yield self.gradient(
                    torch.stack([(gradients[k] * v).sum() for k, v in vector.items()]).sum(), weights, 0
                )
                self.ledger.hessian += n

        return total(products())

    @property
    def batches(self) -> list[Batch]:
        """The pruning sample, the same at every access, on the weights' device and in their dtype."""
        if self._batches is None:
            self._batches = sample.read(self.data, next(iter(self.weights.values())), self.loss)
            self.examples = sum(sample.size(x) for x, _ in self._batches)
        return self._batches

    @property
    def ones(self) -> Any:
        """One all-ones example of shape (1, C, H, W); or the given example with ones for its floating-point numbers."""
        if self._ones is None:
            if self.example is None and self.input_shape is None:
                raise InputError(
                    "input_shape", None, "this scorer needs (C, H, W), the shape of one example, or example_input"
                )
            like = next(iter(self.weights.values()))
            shaped = (1, *(self.input_shape or ()))
            example = torch.empty(shaped) if self.example is None else self.example
            self._ones = sample.as_ones(sample.to(example, like))
            self.examples = max(self.examples, sample.size(self._ones))
        return self._ones

    def _noted(self, weights: Tensors, before: Any = None) -> Any:
        """What tells whether the weights are written to: where they are and their versions; at first, their sums."""
        sums = self.seen is None if before is None else before[1] is not None
        places = [(w.data_ptr(), w._version) for w in weights.values()]
        return places, [str(float(w.detach().sum())) for w in weights.values()] if sums else None

    def _origin(self, x: Any) -> tuple[str, Any]:
        """The argument that an input comes from, and its value."""
        if (self._batches is not None and any(x is inputs for inputs, _ in self._batches)) or self._ones is None:
            return "data", "inputs of " + " and ".join(str(tuple(t.shape)) for t in leaves(x))
        return ("input_shape", self.input_shape) if self.example is None else ("example_input", type(x).__name__)

    def _hint(self, error: str) -> str:
        """What to try where a net that has or makes tensors of its own dtype meets the scoring dtype."""
        own = next((p.dtype for p in self.model.parameters() if p.is_floating_point()), None)
        used = next(iter(self.weights.values())).dtype
        if own == used or not any(word in error for word in ("type", "Double", "Float")):
            return ""
        return f"; scores are computed in {used}, to which the net's own tensors or casts do not fit: try dtype={own}"


def _cooled(output: Any, temperature: float) -> Any:
    """The outputs over the temperature, floating-point ones alone."""
    if temperature == 1:
        return output
    if not outputs(output):
        why = f"returns {type(output).__name__}, in which no outputs are found to divide by the temperature"
        raise InputError("model", type(output).__name__, why)
    return mapped(lambda t: t / temperature if t.is_floating_point() else t, output)


def total(parts: Iterable[Tensors]) -> Tensors:
    """The sum of dictionaries of tensors, name by name."""
    parts = iter(parts)
    summed = next(parts)
    for part in parts:
        summed = {name: tensor + part[name] for name, tensor in summed.items()}
    return summed
