"""What a scorer sees: the model as a function of its weights, on copies that it cannot harm."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from prune_init.errors import InputError, first_line, fits
from prune_init.pruning.cost import Ledger
from prune_init.pruning.live import LiveWeight
from prune_init.pruning.live_calls import LiveCalls
from prune_init.pruning.masks import Tensors
from prune_init.pruning.sameness import uniform

Batch = tuple[Tensor, Tensor]
Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass
class ScoredNet:
    """The model while it is scored. Nothing done through it changes the model.

    Attributes:
        weights: the prunable weights as they are now, in the scoring dtype: pruned ones are 0.0.
        dense: the prunable weights as at the start; None unless pruned weights may return.
        others: copies of every other parameter and of the buffers; training-mode norm layers write to these.
        masks: boolean tensors by weight name, True = still there.
        density: fraction of weights that this iteration will keep.
        input_shape: (C, H, W) of one example, if known.
        loss: maps (output, target) to the mean loss of the batch.
        generator: the source of all randomness while scoring.
        ledger: counts what scoring costs.
        examples: how many a scorer looks at per iteration: the pruning sample, the one all-ones input, or its own.
        live: if given, `weights` and `masks` are vectors of what is left of the weights; see `LiveWeight`.
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
    density: float = 1.0
    ledger: Ledger = field(default_factory=Ledger)
    examples: int = 0
    live: dict[str, LiveWeight] = field(default_factory=dict)
    _batches: list[Batch] | None = None
    _ones: Tensor | None = None
    _changed: Callable[["ScoredNet"], None] | None = None

    def masked_weights(self) -> Tensors:
        """The weights as leaves to differentiate by. They share the memory of `weights`: read them, do not write."""
        return {name: w.detach().requires_grad_() for name, w in self.weights.items()}

    def prune(self, gone: Tensors, masks: Tensors) -> None:
        """Go on with these masks, which are changed, less the weights at the flat places `gone`."""
        for name, w in self.weights.items():
            masks[name].view(-1).index_fill_(0, gone[name], False)
            if self.dense is not None:
                w.copy_(self.dense[name]).masked_fill_(~masks[name], 0)
            elif name in self.live:
                self.live[name].clear(w, gone[name])
            else:
                w.view(-1).index_fill_(0, gone[name], 0)
        self.masks = masks

    def once(self, change: Callable[["ScoredNet"], None]) -> None:
        """Let a scorer change its copies at its first call only."""
        if self._changed is None:
            change(self)
            self._changed = change

    def __call__(self, weights: Tensors, x: Tensor, others: Tensors | None = None) -> Tensor:
        """The model's output for input x (N, C, H, W) with these weights (and, if given, these other tensors).

        Raises:
            InputError: the model cannot be run on such an input, or does not return a tensor.
        """
        self.ledger.forward += len(x)
        tensors = self.others if others is None else others
        made = self._ones is not None and self._batches is None
        given = ("input_shape", self.input_shape) if made else ("data", f"inputs of {tuple(x.shape)}")
        # Fused attention has no second derivative.
        with fits(self.model, *given), sdpa_kernel(SDPBackend.MATH):
            if not self.live:
                output = functional_call(self.model, {**tensors, **weights}, (x,))
            else:
                with LiveCalls(self.live, weights, reuse=self.examples <= 1) as calls:
                    output = functional_call(self.model, {**tensors, **calls.tensors}, (x,))
        if not isinstance(output, Tensor):
            raise InputError(
                "model", type(self.model).__name__, f"returns {type(output).__name__}; allowed: one tensor"
            )
        return output

    def gradient(self, scalar: Tensor, weights: Tensors, examples: int, *, twice: bool = False) -> Tensors:
        """d scalar / d weights by name; `twice` keeps the graph for a second derivative."""
        self.ledger.backward += examples
        found = torch.autograd.grad(scalar, list(weights.values()), create_graph=twice, materialize_grads=True)
        # Scorers go on in place: no gradient may be a view that repeats its elements.
        return {name: g if twice else g.contiguous() for name, g in zip(weights, found, strict=True)}

    def losses(self, weights: Tensors, temperature: float = 1.0) -> Iterator[tuple[Tensor, int]]:
        """Per batch of the pruning sample: its share of the mean loss of outputs / temperature, and its size.

        Shares are weighted by size: in eval mode their sum does not depend on how the sample is split.
        """
        total = sum(len(x) for x, _ in self.batches)
        for x, y in self.batches:
            output = self(weights, x)
            _check_labels(output, y)
            yield self._loss_of(output / temperature, y) * (len(x) / total), len(x)

    def _loss_of(self, output: Tensor, y: Tensor) -> Tensor:
        try:
            loss = self.loss(output, y)
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            given, made = (f"{tuple(t.shape)}, {t.dtype}" for t in (y, output))
            raise InputError(
                "data", f"targets of {given}", f"the loss fails: {first_line(error)} (outputs of {made})"
            ) from error
        if not isinstance(loss, Tensor) or loss.numel() != 1 or not loss.requires_grad:
            raise InputError("loss", self.loss, "must return one number for a batch, which depends on the output")
        return loss

    def loss_gradient(self, weights: Tensors, temperature: float = 1.0) -> Tensors:
        """Gradient of the mean loss over the whole pruning sample, one batch in memory at a time."""
        return total(self.gradient(loss, weights, n) for loss, n in self.losses(weights, temperature))

    def hessian_times(self, vector: Tensors, weights: Tensors, temperature: float = 1.0) -> Tensors:
        """H v of the same mean loss without H: the gradient of <dL/dw, v>, batch by batch."""

        def products() -> Iterator[Tensors]:
            for loss, n in self.losses(weights, temperature):
                slopes = self.gradient(loss, weights, n, twice=True)
                yield self.gradient(torch.stack([(slopes[k] * v).sum() for k, v in vector.items()]).sum(), weights, 0)
                self.ledger.hessian += n

        return total(products())

    @property
    def batches(self) -> list[Batch]:
        """The pruning sample, the same at every access, on the weights' device and in their dtype."""
        if self._batches is None:
            if self.data is None:
                raise InputError("data", None, "this scorer needs an iterable of (input, target) batches")
            like = next(iter(self.weights.values()))
            if not isinstance(self.data, Iterable):
                raise InputError("data", type(self.data).__name__, "allowed: an iterable of (input, target) batches")
            self._batches = [_batch(pair, like) for pair in self.data]
            if not self._batches:
                raise InputError("data", "[]", "this scorer needs at least one (input, target) batch")
            self.examples = sum(len(x) for x, _ in self._batches)
        return self._batches

    @property
    def ones(self) -> Tensor:
        """One all-ones example of shape (1, C, H, W)."""
        if self._ones is None:
            if self.input_shape is None:
                raise InputError("input_shape", None, "this scorer needs (C, H, W), the shape of one example")
            like = next(iter(self.weights.values()))
            self._ones = uniform(torch.ones((1, *self.input_shape), dtype=like.dtype, device=like.device))
            self.examples = max(self.examples, 1)
        return self._ones


def total(parts: Iterable[Tensors]) -> Tensors:
    """The sum of dictionaries of tensors, name by name."""
    parts = iter(parts)
    summed = next(parts)
    for part in parts:
        summed = {name: tensor + part[name] for name, tensor in summed.items()}
    return summed


def _check_labels(output: Tensor, y: Tensor) -> None:
    """Class labels beyond the outputs would end a process on a GPU; say so here instead."""
    if not y.is_floating_point() and output.ndim == 2 and y.ndim == 1:
        low, high = int(y.min()), int(y.max())
        if low < 0 or high >= output.shape[1]:
            raise InputError("data", f"labels {low}..{high}", f"allowed: 0..{output.shape[1] - 1}, the net's outputs")


def _batch(pair: Batch, like: Tensor) -> Batch:
    match pair:
        case (Tensor() as x, Tensor() as y):
            pass
        case _:
            raise InputError("data", type(pair).__name__, "allowed: (input, target) pairs of tensors, one pair a batch")
    if x.ndim == 0 or y.ndim == 0 or len(x) != len(y) or len(x) == 0:
        given = f"inputs of {tuple(x.shape)} and targets of {tuple(y.shape)}"
        raise InputError("data", given, "allowed: batches of at least one example, with one target each")
    # Token ids and other integer inputs stay integers.
    return x.to(like.device, like.dtype if x.is_floating_point() else x.dtype), y.to(like.device)
