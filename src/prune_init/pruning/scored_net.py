"""The net as a scorer sees it: a function of its weights, run on copies so that the model itself is not changed."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from prune_init.errors import fits
from prune_init.pruning import plain_run
from prune_init.pruning.cost import Passes
from prune_init.pruning.loss import Loss, loss_of, summed
from prune_init.pruning.masks import Tensors, copies, total
from prune_init.pruning.read_only import weights_only_read
from prune_init.pruning.sample import Batch, Sample
from prune_init.pruning.structures import size


@dataclass
class ScoredNet:
    """The model during scoring. Nothing done through this object changes the model.

    Attributes:
        model: the model that is scored.
        weights: copies of the prunable weights in the scoring dtype; pruned ones are 0.0.
        others: copies of all other parameters and of the buffers.
        masks: boolean tensors by weight name, True = not pruned.
        sample: the pruning sample, its loss, and the all-ones input.
        generator: the source of all randomness during scoring.
        dense: the prunable weights before pruning; None unless pruned weights may return.
        density: the fraction of weights that remains after this iteration.
        final_density: the fraction of weights that remains after the last iteration.
        passes: the counter of forward and backward passes.
        run: calls a model with weights, other tensors and an input, as `plain_run.call` does.
    """

    model: nn.Module
    weights: Tensors
    others: Tensors
    masks: Tensors
    sample: Sample
    generator: torch.Generator
    dense: Tensors | None = None
    density: float = 1.0
    final_density: float = 1.0
    passes: Passes = field(default_factory=Passes)
    run: Callable[[nn.Module, Tensors, Tensors, Any], Any] = plain_run.call
    _changed: bool = False

    @property
    def batches(self) -> list[Batch]:
        """The pruning sample, on the weights' device and in their dtype; the same batches at every access."""
        return self.sample.batches

    @property
    def ones(self) -> Any:
        """One all-ones example of shape (1, C, H, W), or the given example with floating-point tensors set to ones."""
        return self.sample.ones

    @property
    def loss(self) -> Loss:
        """The loss function: maps the model's output and the target to the mean loss of the batch."""
        return self.sample.loss

    def masked_weights(self) -> Tensors:
        """The weights as leaf tensors to differentiate by. They share the memory of `weights`: do not write to them."""
        return {name: w.detach().requires_grad_() for name, w in self.weights.items()}

    def with_batches(self, batches: list[Batch]) -> "ScoredNet":
        """The same net with these batches as its pruning sample."""
        return replace(self, sample=replace(self.sample, data=batches))

    def with_outputs(self, change: Callable[[Any], Any]) -> "ScoredNet":
        """The same net with `change` applied to its outputs."""
        return replace(self, run=lambda *args: change(self.run(*args)))

    def once(self, change: Callable[["ScoredNet"], None]) -> None:
        """Call `change` on this net the first time only: a scorer modifies its copies in its first iteration."""
        if not self._changed:
            change(self)
            self._changed = True

    def __call__(self, weights: Tensors, x: Any, others: Tensors | None = None) -> Any:
        """The model's output with these weights for an input x: (N, C, H, W) or a structure of tensors.

        The model gets copies of x and of `self.others`, so that nothing it writes affects a later pass. If `others`
        is given, it reads and writes those tensors directly. Differentiable by `weights` and `others`.

        Raises:
            InputError: the model cannot be run on such an input, or writes to its weights.
        """
        given = copies(self.others) if others is None else others
        key, value = self.sample.origin(x)
        with (
            weights_only_read(self.model, weights, summed=self.passes.last is None),
            fits(self.model, key, value, hint=lambda error: plain_run.dtype_hint(error, self.model, weights)),
        ):
            output = self.run(self.model, weights, given, x)
        self.passes.forward(x)
        return output

    def summed(self, output: Any) -> Tensor:
        """The sum over all floating-point tensors that the model returned: SynFlow's R."""
        return summed(self.model, output)

    def gradient(self, scalar: Tensor, weights: Tensors, examples: int, *, twice: bool = False) -> Tensors:
        """d scalar / d weights by name, counted as a pass of `examples`; `twice` makes it differentiable again."""
        self.passes.ledger.backward += examples
        return plain_run.gradients(self.model, scalar, weights, twice=twice)

    def losses(self, weights: Tensors) -> Iterator[tuple[Tensor, int]]:
        """For each batch of the pruning sample, its contribution to the mean loss and its number of examples.

        Batches are weighted by the labels that count in them, or else by size (`weight_of`), so that in eval mode the
        sum does not depend on how the sample is split.
        """
        for (x, y), share in self.sample.shares():
            output = self(weights, x)
            self.passes.last = (x, y)
            yield loss_of(self.loss, output, y) * share, size(x)

    def loss_gradient(self, weights: Tensors) -> Tensors:
        """The gradient of the mean loss over the whole pruning sample, with one batch in memory at a time."""
        return total(self.gradient(loss, weights, n) for loss, n in self.losses(weights))

    def hessian_times(self, vector: Tensors, weights: Tensors) -> Tensors:
        """The Hessian-vector product H v of the same mean loss: the gradient of <dL/dw, v>, batch by batch."""

        def products() -> Iterator[Tensors]:
            for loss, n in self.losses(weights):
                gradients = self.gradient(loss, weights, n, twice=True)
                self.passes.ledger.hessian += n
                product = torch.stack([(gradients[name] * v).sum() for name, v in vector.items()]).sum()
                yield self.gradient(product, weights, 0)

        return total(products())
