"""ProsPr: prospect pruning by meta-gradients (Alizadeh et al. 2022)."""

from dataclasses import dataclass

import torch

from prune_init.allowed import whole
from prune_init.errors import InputError
from prune_init.pruning.chance import drawn_seed, reseed
from prune_init.pruning.loss import ignored
from prune_init.pruning.masks import Tensors
from prune_init.pruning.sample import joined, picked
from prune_init.pruning.scored_net import ScoredNet
from prune_init.pruning.structures import leaves, size


@dataclass(frozen=True)
class ProsPr:
    """|dL_M/dm|: how much the loss after M training steps changes, to first order, when a weight is removed.

    The net starts at w_0 = w m and takes M steps of SGD, w_k+1 = w_k - rate dL_k/dw_k, each on different examples;
    L_M is the loss on the remaining examples. The derivative goes through all steps. With M = 0 it is SNIP.

    As published: 3 steps without momentum, one iteration, train mode; biases and norm parameters are trained too.
    The published command's learning rate is 0.1 (0.5 in the example); its batches have 128 images for any number of
    classes, and by default all steps use the same batch. Here the sample, 10 examples per class as for SNIP, is split
    at random into M + 1 parts. With several iterations, pruned weights stay 0 during the steps.
    """

    iterations: int = 1
    mode: str = "train"
    steps: int = 3
    rate: float = 0.1
    examples_per_class: int = 10

    def __post_init__(self) -> None:
        """Refuse a number of steps that is not a whole number from 0."""
        whole(0).check("scorer.steps", self.steps)

    def __call__(self, net: ScoredNet) -> Tensors:
        """|w_0 dL_M/dw_0| of the masked net; needs `data` with more examples than there are steps."""
        others = {name: net.others[name] for name, _ in net.model.named_parameters() if name in net.others}
        gradient = self._gradient(_parts(net, self.steps + 1), net.weights | others)
        return {name: (w * gradient[name]).abs_() for name, w in net.weights.items()}

    def _gradient(self, parts: list[ScoredNet], values: Tensors) -> Tensors:
        """dL_M/dw_k at w_k = `values`, where a step on each of the `parts` but the last is still to be taken.

        It is s - rate H_k s, with s = dL_M/dw_k+1 and H_k the Hessian of L_k at w_k. This equals backpropagation
        through all steps at once, but keeps the graph of only one batch in memory at a time.
        """
        net, *later = parts
        weights = {name: value.detach().requires_grad_() for name, value in values.items()}
        if not later:
            return net.loss_gradient(weights)
        seed, device = drawn_seed(net.generator), next(iter(weights.values())).device
        reseed(device, seed)  # both passes over this part need the same dropout
        steps = _live(net, net.loss_gradient(weights))
        gradient = self._gradient(later, {name: value - self.rate * steps.pop(name) for name, value in values.items()})
        reseed(device, seed)
        product = net.hessian_times(_live(net, gradient), weights)
        return {name: s - self.rate * product[name] for name, s in gradient.items()}


def _live(net: ScoredNet, tensors: Tensors) -> Tensors:
    """The tensors with the entries of pruned weights set to 0."""
    return {name: t * net.masks[name] if name in net.masks else t for name, t in tensors.items()}


def _parts(net: ScoredNet, count: int) -> list[ScoredNet]:
    """`count` copies of the net, each with a different part of the pruning sample in batches no larger than before."""
    x, y = joined(net.batches)
    label = ignored(net.loss)
    if label is not None and y.ndim == 1:  # otherwise a part may be left without any label that counts
        x, y = picked(x, y != label), picked(y, y != label)
    if size(x) < count:
        raise InputError(
            "data", f"{size(x)} examples", f"ProsPr needs one for each of its {count - 1} steps and one more"
        )
    order = torch.randperm(size(x), generator=net.generator, device=net.generator.device).to(leaves(x)[0].device)
    most = max(size(x) for x, _ in net.batches)
    return [
        net.with_batches([(picked(x, batch), picked(y, batch)) for batch in part.split(most)])
        for part in order.tensor_split(count)
    ]
