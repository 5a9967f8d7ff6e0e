"""GraSP as implemented for the first submission of the SynFlow paper: the discrepancy that its rebuttal reports."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from prune_init.pruning.loss import loss_of
from prune_init.pruning.masks import Tensors, total
from prune_init.pruning.scored_net import ScoredNet
from prune_init.pruning.structures import size


@dataclass(frozen=True)
class GraspSubmission:
    """-w * (H g), which has the wrong sign: it keeps what GraSP removes. It is here to redraw the published figures.

    It also differs from GraSP in using |g|^2 / 2 of each batch rather than of the whole sample, no temperature and
    eval mode.
    """

    iterations: int = 1
    mode: str = "eval"
    examples_per_class: int = 10
    per_batch: ClassVar = True

    def __call__(self, net: ScoredNet) -> Tensors:
        """-w times the gradient of the sum over batches of |g|^2 / 2; needs `data`."""
        weights = net.masked_weights()
        products = total(self._half_norm_gradient(net, weights, x, y) for (x, y), _ in net.sample.shares())
        return {name: -net.weights[name] * product for name, product in products.items()}

    def _half_norm_gradient(self, net: ScoredNet, weights: Tensors, x: Any, y: Any) -> Tensors:
        gradients = net.gradient(loss_of(net.loss, net(weights, x), y), weights, size(x), twice=True)
        norms = [(gradient * net.masks[name]).square().sum() for name, gradient in gradients.items()]
        net.passes.ledger.hessian += size(x)
        return net.gradient(torch.stack(norms).sum() / 2, weights, 0)
