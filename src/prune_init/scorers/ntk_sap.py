"""NTK-SAP: pruning that preserves the spectrum of the neural tangent kernel (Wang, Li and Sun 2023)."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from prune_init.allowed import whole
from prune_init.pruning.masks import Tensors, total
from prune_init.pruning.scored_net import ScoredNet
from prune_init.pruning.structures import mapped, outputs


@dataclass(frozen=True)
class NtkSap:
    """|d/dm sum ||f(x; w m) - f(x; (w + dw) m)||^2|: a weight's effect on how much the output reacts to weight noise.

    With dw ~ N(0, epsilon^2) the sum is, in expectation and for small epsilon, epsilon^2 times the squared norm of
    the Jacobian df/dw, which is the trace of the neural tangent kernel. It runs over outputs, examples and `batches`;
    for each batch the weights w, Gaussian inputs x and noise dw are drawn anew. It needs no data, and of the initial
    weights only each layer's root mean square.

    As published: 20 iterations; epsilon is a standard deviation; in both passes norm layers use the statistics of the
    net with weights w on x (the variance unbiased, as in running statistics), without differentiating through them;
    with `mode="eval"`, the running statistics. The published sample is 10 inputs per class in batches of up to 256, so
    100 for CIFAR-10, in one round by the code's default and five in its example; here it is 5 batches of 100.

    Differs from the published code, which calls the net's own initialiser: w is Gaussian with the root mean square of
    each layer's unpruned initial weights. Biases, norm parameters and weights that are not prunable keep their values.
    Dropout is off, so that the two passes differ by dw alone.
    """

    iterations: int = 20
    mode: str = "train"
    batches: int = 5
    batch_size: int = 100
    epsilon: float = 0.01

    def __post_init__(self) -> None:
        """Refuse numbers of batches and of examples below 1."""
        for name, value in (("batches", self.batches), ("batch_size", self.batch_size)):
            whole(1).check(f"scorer.{name}", value)

    def __call__(self, net: ScoredNet) -> Tensors:
        """|d/dm| of the masked net, 0 for pruned weights; needs `input_shape` or `example_input`."""
        net.once(keep_deviations)
        summed = total(self._mask_gradients(net) for _ in range(self.batches))
        return {name: gradient.abs_() for name, gradient in summed.items()}

    def _mask_gradients(self, net: ScoredNet) -> Tensors:
        """The gradient with respect to the masks for one draw of weights, inputs and noise, in this order."""
        weights = {name: deviation * _normal(net, deviation) for name, deviation in net.weights.items()}
        x = self._noise(net)
        masks = {name: mask.to(weights[name].dtype) for name, mask in net.masks.items()}
        moved = {name: w + self.epsilon * _normal(net, w) * masks[name] for name, w in weights.items()}
        leaves = {name: mask.requires_grad_() for name, mask in masks.items()}
        with _fixed_statistics(net, weights, x):
            here, there = (outputs(net({name: w[name] * m for name, m in leaves.items()}, x)) for w in (weights, moved))
        moves = [(a - b).square().sum() for a, b in zip(here, there, strict=True)]
        return net.gradient(torch.stack(moves).sum(), leaves, 2 * self.batch_size)

    def _noise(self, net: ScoredNet) -> Any:
        """A batch of Gaussian inputs; integer inputs, such as token ids, repeat the first example."""

        def batch(example: Tensor) -> Tensor:
            repeated = example[:1].expand(self.batch_size, *example.shape[1:])
            return _normal(net, repeated) if example.is_floating_point() else repeated

        return mapped(batch, net.ones)


def keep_deviations(net: ScoredNet) -> None:
    """Replace each unpruned weight by its layer's root mean square; pruning sets it to 0, so that draws are 0 too."""
    for name, w in net.weights.items():
        mask = net.masks[name]
        w.copy_(mask * (w.square().sum() / mask.sum().clamp(min=1)).sqrt())


def _normal(net: ScoredNet, like: Tensor) -> Tensor:
    """Draws from N(0, 1), in float32 on the generator's device, so that they are the same for any device and dtype."""
    source = net.generator
    return torch.randn(like.shape, generator=source, device=source.device, dtype=torch.float32).to(like)


@contextmanager
def _fixed_statistics(net: ScoredNet, weights: Tensors, x: Any) -> Iterator[None]:
    """Put the net into eval mode; if it was in train mode, batch norm layers use the statistics of this batch."""
    training = net.model.training
    norms = [m for m in net.model.modules() if training and isinstance(m, _BatchNorm) and m.running_mean is not None]
    momenta = [norm.momentum for norm in norms]
    net.model.eval()
    try:
        if norms:
            for norm in norms:
                norm.train()
                norm.momentum = 1.0  # running statistics become those of this batch
            with torch.no_grad():
                net(weights, x, net.others)  # without copies of `others`, so that the new statistics are kept there
            net.model.eval()
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        net.model.train(training)
