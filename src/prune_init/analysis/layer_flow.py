"""What flows through the parameters of one layer: the sums of w dR/dw that the conservation laws compare.

A layer is a map z -> W z + b from the channels it reads to the channels it writes. Batch norm is one too, with one
weight per channel (Tanaka et al. 2020 leave it out):

    eval mode   W = gamma / s, b = beta - mean gamma / s, with s = sqrt(var + eps)   (running mean and variance)
                <dR/dW, W> = gamma dR/dgamma + (mean gamma / s) dR/dbeta
                <dR/db, b> = (beta - mean gamma / s) dR/dbeta
    train mode  the batch's own mean and variance v undo any scaling of the input, all but eps of it:
                <dR/dz, z> = eps / (v + eps) gamma dR/dgamma
                what is left of gamma dR/dgamma + beta dR/dbeta begins here, as in a bias

In both modes weight and bias add up to gamma dR/dgamma + beta dR/dbeta, the flow at the layer's output.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from prune_init.pruning.masks import Tensors

Layer = _ConvNd | nn.Linear | _BatchNorm

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_FORWARDS = {kind.forward for kind in (nn.Linear, _BatchNorm, *_CONVOLUTIONS)}


@dataclass(frozen=True, eq=False)
class LayerFlow:
    """Sums of w dR/dw over the weights of each channel.

    Attributes:
        written: over the weights that write to it, for each output channel.
        read: over the weights that read it, for each input channel.
        bias: over its bias, for each output channel.
        gross: the sum of the absolute values of all terms, which rounding errors are proportional to.
    """

    written: Tensor
    read: Tensor
    bias: Tensor
    gross: Tensor


def is_layer(module: nn.Module) -> bool:
    """Whether `module` is a Linear, Conv or BatchNorm that computes as torch's own and holds plain parameters."""
    plain = {name for name, _ in module.named_parameters()} <= {"weight", "bias"}
    return plain and type(module).forward in _FORWARDS


def channel_axis(module: Layer) -> int:
    """The axis of its input and its output that counts channels."""
    return -1 if isinstance(module, nn.Linear) else 1


def leaves(module: Layer, tensors: Tensors) -> Tensors:
    """Its own weight and bias to differentiate by; a norm layer without them has gamma = 1 and beta = 0."""
    own = {name: tensors[name] for name, _ in module.named_parameters()}
    if isinstance(module, _BatchNorm) and not module.affine:
        one = next(iter(tensors.values())).new_ones(module.num_features)
        own = {"weight": one, "bias": torch.zeros_like(one)}
    return {name: tensor.detach().clone().requires_grad_() for name, tensor in own.items()}


def apply(module: Layer, own: Tensors, tensors: Tensors, x: Tensor) -> Tensor:
    """The layer's output for x, with its `own` leaves and its buffers from `tensors`, which stay as they are."""
    if not isinstance(module, _BatchNorm):
        output: Tensor = functional_call(module, own, (x,))
        return output
    mean, var = (None, None) if _of_batch(module) else (tensors["running_mean"], tensors["running_var"])
    return F.batch_norm(x, mean, var, own["weight"], own["bias"], training=_of_batch(module), eps=module.eps)


def layer_flow(module: Layer, own: Tensors, slopes: Tensors, tensors: Tensors, x: Tensor) -> LayerFlow:
    """The flow through the `own` leaves of a layer that has read x, given their `slopes` dR/dw."""
    product = {name: w.detach() * slopes[name] for name, w in own.items()}
    gross = torch.stack([flow.abs().sum() for flow in product.values()]).sum()
    if isinstance(module, _BatchNorm):
        scale = _norm_flow(module, own, slopes, tensors, x)
        shift = (scale - product["weight"]).abs().sum()  # may be far larger than the sums it cancels in
        return LayerFlow(scale, scale, product["weight"] + product["bias"] - scale, gross + shift)
    groups = module.groups if isinstance(module, _ConvNd) else 1
    written, read = _margins(product["weight"], groups)
    if isinstance(module, _ConvTransposeNd):
        written, read = read, written
    return LayerFlow(written, read, product.get("bias", torch.zeros_like(written)), gross)


def _of_batch(module: _BatchNorm) -> bool:
    return module.training or module.running_mean is None


def _norm_flow(module: _BatchNorm, own: Tensors, slopes: Tensors, tensors: Tensors, x: Tensor) -> Tensor:
    gamma = own["weight"].detach()
    if _of_batch(module):
        v = x.detach().transpose(0, 1).flatten(1).var(1, correction=0)
        return module.eps / (v + module.eps) * gamma * slopes["weight"]
    mean, s = tensors["running_mean"], (tensors["running_var"] + module.eps).sqrt()
    return gamma * slopes["weight"] + mean * gamma / s * slopes["bias"]


def _margins(product: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Sums over all but the first axis, and over all but the second, where each group has columns of its own."""
    rows, columns = product.shape[:2]
    blocks = product.reshape(groups, rows // groups, columns, -1)
    return blocks.sum((2, 3)).flatten(), blocks.sum((1, 3)).flatten()
