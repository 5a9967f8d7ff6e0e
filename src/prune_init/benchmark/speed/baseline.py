"""A plain implementation to compare with, written for the benchmark and used for nothing else.

It works like the published SynFlow code: layers multiply their weights by float32 masks in every forward pass, scores
are cloned products of gradients and weights, the threshold is `kthvalue` of all scores, SynFlow stores the signs of the
whole state dict, and images go one by one through PIL in the workers of a DataLoader.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from prune_init.pruning.schedule import exponential

Batch = tuple[Tensor, Tensor]
Score = Callable[[nn.Module], dict[str, Tensor]]


class MaskedConv2d(nn.Conv2d):
    """A convolution with a mask as a buffer."""

    weight_mask: Tensor

    def forward(self, input: Tensor) -> Tensor:
        """Multiply the weight by the mask, then convolve."""
        return self._conv_forward(input, self.weight * self.weight_mask, self.bias)


class MaskedLinear(nn.Linear):
    """A linear layer with a mask as a buffer."""

    weight_mask: Tensor

    def forward(self, input: Tensor) -> Tensor:
        """Multiply the weight by the mask, then apply the layer."""
        return F.linear(input, self.weight * self.weight_mask, self.bias)


def masked(model: nn.Module) -> nn.Module:
    """Turn the Conv2d and Linear layers of a model into masked ones, in place."""
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.__class__ = MaskedConv2d if isinstance(module, nn.Conv2d) else MaskedLinear
            module.register_buffer("weight_mask", torch.ones_like(module.weight))
    return model


def prune(
    model: nn.Module, score: Score, sparsity: float, iterations: int, *, whole: Callable[[float], int] = round
) -> dict[str, Tensor]:
    """Score and prune a masked model along the exponential schedule; return boolean masks by weight name.

    Of N weights, `whole`((1 - density) N) are removed. The published code uses `int`, which keeps density N rounded up;
    `round` keeps as many as this package does, so that masks can be compared.
    """
    for density in exponential(1 - sparsity, iterations):
        scores = score(model)
        with torch.no_grad():
            every = torch.cat([s.flatten() for s in scores.values()])
            k = whole((1 - density) * len(every))
            if k > 0:
                threshold, _ = torch.kthvalue(every, k)
                for name, layer in _layers(model):
                    layer.weight_mask.copy_(torch.where(scores[name] <= threshold, 0.0, 1.0))
    return {name: layer.weight_mask.bool() for name, layer in _layers(model)}


def synflow(input_shape: tuple[int, ...]) -> Score:
    """|w dR/dw| of the net with absolute parameters on an all-ones input, in the parameters' own dtype."""

    def score(model: nn.Module) -> dict[str, Tensor]:
        model.eval()
        signs = {}
        with torch.no_grad():
            for name, tensor in model.state_dict().items():
                signs[name] = torch.sign(tensor)
                tensor.abs_()
        like = next(model.parameters())
        model(torch.ones((1, *input_shape), dtype=like.dtype, device=like.device)).sum().backward()
        scores = _saliency(model)
        with torch.no_grad():
            for name, tensor in model.state_dict().items():
                tensor.mul_(signs[name])
        return scores

    return score


def snip(data: Iterable[Batch]) -> Score:
    """|w dL/dw|, gradients summed over batches, divided by the sum of all scores."""

    def score(model: nn.Module) -> dict[str, Tensor]:
        model.eval()
        for x, y in data:
            F.cross_entropy(model(x), y).backward()
        scores = _saliency(model)
        total = torch.cat([s.flatten() for s in scores.values()]).sum()
        return {name: s / total for name, s in scores.items()}

    return score


def grasp(data: Iterable[Batch], temperature: float = 200.0) -> Score:
    """w (Hg): one pass for the gradient g, and one that keeps the graph for the Hessian-vector product Hg."""

    def score(model: nn.Module) -> dict[str, Tensor]:
        model.train()
        weights = [layer.weight for _, layer in _layers(model)]
        stopped = [torch.zeros_like(w) for w in weights]
        for x, y in data:
            gradients = torch.autograd.grad(F.cross_entropy(model(x) / temperature, y), weights)
            stopped = [total + g for total, g in zip(stopped, gradients, strict=True)]
        for x, y in data:
            slopes = torch.autograd.grad(F.cross_entropy(model(x) / temperature, y), weights, create_graph=True)
            sum((s * g).sum() for s, g in zip(slopes, stopped, strict=True)).backward()  # type: ignore[union-attr]
        return _saliency(model, signed=True)

    return score


class Photographs(Dataset[tuple[Tensor, int]]):
    """Byte images; each is converted to a PIL image, cropped, flipped and normalised on its own."""

    def __init__(self, pixels: Tensor, labels: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        self.pixels, self.labels = pixels, labels
        steps = [transforms.RandomCrop(pixels.shape[-1], padding=4), transforms.RandomHorizontalFlip()]
        steps += [transforms.ToTensor(), transforms.Normalize(mean, std)]
        self.transform = transforms.Compose([transforms.ToPILImage(), *steps])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.pixels[index]), int(self.labels[index])


def epoch(model: nn.Module, optimizer: torch.optim.Optimizer, loader: "DataLoader[tuple[Tensor, int]]") -> float:
    """Train a masked model for one epoch; return the mean loss."""
    model.train()
    total = 0.0
    device = next(model.parameters()).device
    for x, y in loader:
        x, y = x.to(device), y.to(device)
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        total += loss.item() * len(y)
        loss.backward()
        optimizer.step()
    return total / len(loader.dataset)  # type: ignore[arg-type]


def _layers(model: nn.Module) -> "list[tuple[str, MaskedConv2d | MaskedLinear]]":
    """The masked layers, with the names of their weights."""
    return [(f"{name}.weight", m) for name, m in model.named_modules() if isinstance(m, (MaskedConv2d, MaskedLinear))]


def _saliency(model: nn.Module, *, signed: bool = False) -> dict[str, Tensor]:
    scores = {}
    for name, layer in _layers(model):
        gradient = layer.weight.grad
        assert gradient is not None
        product = torch.clone(gradient * layer.weight).detach()
        scores[name] = product if signed else product.abs_()
        gradient.zero_()
    return scores
