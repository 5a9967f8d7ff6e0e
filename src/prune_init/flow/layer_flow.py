"""The flow through the parameters of one layer: the sums of w dR/dw that the conservation laws compare.

A layer is a map z -> W z + b from input channels to output channels. Batch norm is such a map too, with one weight
per channel (Tanaka et al. 2020 leave it out):

    eval mode   W = gamma / s, b = beta - mean gamma / s, with s = sqrt(var + eps)   (running mean and variance)
                <dR/dW, W> = gamma dR/dgamma + (mean gamma / s) dR/dbeta
                <dR/db, b> = (beta - mean gamma / s) dR/dbeta
    train mode  normalising by the batch's own mean and variance v undoes any scaling of the input, except for eps:
                <dR/dz, z> = eps / (v + eps) gamma dR/dgamma
                the rest of gamma dR/dgamma + beta dR/dbeta begins here, like the flow of a bias

In both modes the flows of weight and bias add up to gamma dR/dgamma + beta dR/dbeta, the flow at the layer's output.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from prune_init.flow.used_layer import Normalisation, UsedLayer
from prune_init.pruning.masks import Tensors


@dataclass(frozen=True, eq=False)
class LayerFlow:
    """Sums of w dR/dw over the parameters of one layer.

    Attributes:
        written: for each output channel, the sum over the weights that write to it.
        read: for each input channel, the sum over the weights that read it.
        bias: for each output channel, b dR/db of its bias.
        gross: the sum of the absolute values of all terms, to which rounding errors are proportional.
        axis: the channel axis of input and output.
    """

    written: Tensor
    read: Tensor
    bias: Tensor
    gross: Tensor
    axis: int


def layer_flow(layer: UsedLayer, gradients: Tensors, x: Tensor) -> LayerFlow:
    """The flow through a layer that has read x, given the `gradients` dR/dw of its own parameters."""
    product = {name: w.detach() * gradients[name] for name, w in layer.own.items()}
    gross = torch.stack([flow.abs().sum() for flow in product.values()]).sum()
    if layer.norm is not None:
        scale = _scale_flow(layer.norm, layer.own["weight"].detach(), gradients, x.detach())
        shift = (scale - product["weight"]).abs().sum()  # cancels, but may be far larger than the resulting sums
        return LayerFlow(scale, scale, product["weight"] + product["bias"] - scale, gross + shift, layer.axis)
    written, read = _margins(product["weight"], layer.groups)
    if layer.transposed:
        written, read = read, written
    return LayerFlow(written, read, product.get("bias", torch.zeros_like(written)), gross, layer.axis)


def _scale_flow(norm: Normalisation, gamma: Tensor, gradients: Tensors, x: Tensor) -> Tensor:
    """<dR/dz, z> for each channel of a norm's input."""
    if norm.mean is None or norm.var is None:
        v = x.transpose(0, 1).flatten(1).var(1, correction=0)
        return norm.eps / (v + norm.eps) * gamma * gradients["weight"]
    return gamma * gradients["weight"] + norm.mean * gamma / (norm.var + norm.eps).sqrt() * gradients["bias"]


def _margins(product: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Sums over all axes but the first, and over all but the second, where each group has its own columns."""
    rows, columns = product.shape[:2]
    blocks = product.reshape(groups, rows // groups, columns, -1)
    return blocks.sum((2, 3)).flatten(), blocks.sum((1, 3)).flatten()
