"""Reference scores of every scorer from the formulas: simple, slow, in float64, without any code of the library.

Each score is written as the derivative that defines it. The scores of SNIP, FORCE, SynFlow, ProsPr and NTK-SAP are
derivatives with respect to a multiplicative mask c on the weights; GraSP's is a derivative of the gradient's norm with
respect to the weights.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import functional_call

Tensors = dict[str, Tensor]
Batches = list[tuple[Tensor, Tensor]]


# Scores -------------------------------------------------------------------------------------------------------------


def cross_entropy(output: Tensor, labels: Tensor) -> Tensor:
    terms = [row.logsumexp(0) - row[label] for row, label in zip(output, labels, strict=True)]
    return sum(terms) / len(terms)


def mean_loss(net: "Net", weights: Tensors, data: Batches, temperature: float = 1.0) -> Tensor:
    """The mean loss over all examples; batches are not merged, because batch statistics depend on them."""
    examples = sum(len(y) for _, y in data)
    return sum(net.loss(net(weights, x) / temperature, y) * len(y) / examples for x, y in data)


def worth(function: Callable[[Tensors], Tensor], weights: Tensors, masks: Tensors) -> Tensors:
    """d function(w * c) / dc at c = mask, for pruned weights too."""
    c = {name: mask.double().requires_grad_() for name, mask in masks.items()}
    scalar = function({name: weights[name] * c[name] for name in c})
    return dict(zip(c, torch.autograd.grad(scalar, list(c.values())), strict=True))


def gradient_flow(net: "Net", weights: Tensors, masks: Tensors, samples: list[Batches], temperature: float) -> Tensors:
    """w * (H g): w times the derivative of |dL/dw|^2 / 2, summed over the samples, for remaining weights only."""
    leaves = {name: w.clone().requires_grad_() for name, w in weights.items()}
    masked = {name: leaf * masks[name] for name, leaf in leaves.items()}
    flow = torch.zeros((), dtype=torch.float64)
    for data in samples:
        loss = mean_loss(net, masked, data, temperature)
        for slope in torch.autograd.grad(loss, list(leaves.values()), create_graph=True):
            flow = flow + (slope**2).sum() / 2
    found = torch.autograd.grad(flow, list(leaves.values()))
    return {name: weights[name] * product for name, product in zip(leaves, found, strict=True)}


def magnitude(net: "Net", masks: Tensors) -> Tensors:
    return {name: w.abs() for name, w in net.weights.items()}


def snip(net: "Net", masks: Tensors) -> Tensors:
    """Also the scores of Iter-SNIP and FORCE, which differ only in the candidates of the selection."""
    return absolute(worth(lambda weights: mean_loss(net, weights, net.data), net.weights, masks))


def grasp(net: "Net", masks: Tensors) -> Tensors:
    return gradient_flow(net, net.weights, masks, [net.data], temperature=200.0)


def grasp_submission(net: "Net", masks: Tensors) -> Tensors:
    """As GraSP, but with each batch by itself and the opposite sign."""
    found = gradient_flow(net, net.weights, masks, [[batch] for batch in net.data], 1.0)
    return {name: -score for name, score in found.items()}


def grasp_official(net: "Net", masks: Tensors) -> Tensors:
    """As GraSP, but with redrawn linear layers and the examples sorted by class, in two halves."""
    examples = [(x, y) for xs, ys in net.data for x, y in zip(xs, ys, strict=True)]
    examples.sort(key=lambda example: int(example[1]))
    middle = len(examples) // 2
    halves = [examples[:middle], examples[middle:]]
    data = [(torch.stack([x for x, _ in half]), torch.stack([y for _, y in half])) for half in halves]
    linear = [f"{name}.weight" for name, module in net.model.named_modules() if isinstance(module, nn.Linear)]
    weights = {name: xavier(w.shape) if name in linear else w for name, w in net.weights.items()}
    return gradient_flow(net, weights, masks, [data], 200.0)


def xavier(shape: tuple[int, ...]) -> Tensor:
    """A normal draw with variance 2 / (inputs + outputs), fixed for each shape, so that the order does not matter."""
    generator = torch.Generator().manual_seed(1000 * shape[0] + shape[1])
    return torch.randn(shape, dtype=torch.float64, generator=generator) * math.sqrt(2 / (shape[0] + shape[1]))


def synflow(net: "Net", masks: Tensors) -> Tensors:
    return worth(lambda weights: flow(net, weights), absolute(net.weights), masks)


def synflow_l2(net: "Net", masks: Tensors, power: int = 2) -> Tensors:
    """The derivative with respect to c is w^2 dR/d(w^2)."""
    found = worth(lambda weights: flow(net, weights), {name: w * w for name, w in net.weights.items()}, masks)
    return {name: score / net.weights[name].abs() ** (2 - power) for name, score in found.items()}


def flow(net: "Net", weights: Tensors) -> Tensor:
    """R: the sum of the outputs on an all-ones input, with the absolute values of all other parameters and buffers."""
    positive = copy.deepcopy(net.model)
    for tensor in [*positive.parameters(), *positive.buffers()]:
        tensor.data = tensor.data.abs()
    return functional_call(positive, weights, torch.ones(1, *net.input_shape, dtype=torch.float64)).sum()


def prospr(net: "Net", masks: Tensors, steps: int = 3, rate: float = 0.1) -> Tensors:
    """The derivative with respect to c of the loss after the training steps, which all are in one graph."""
    examples = [(x, y) for xs, ys in net.data for x, y in zip(xs, ys, strict=True)]
    order = torch.randperm(len(examples), generator=net.random).tolist()
    torch.randint(2**62, (steps,), generator=net.random)  # the library draws one dropout seed per step
    few, more = divmod(len(examples), steps + 1)
    sizes = [few + (k < more) for k in range(steps + 1)]
    *before, last = [[examples[order.pop(0)] for _ in range(size)] for size in sizes]

    def loss(values: Tensors, part: Batches) -> Tensor:
        largest = max(len(y) for _, y in net.data)
        pieces = [part[at : at + largest] for at in range(0, len(part), largest)]
        return mean_loss(net, values, [tuple(map(torch.stack, zip(*piece, strict=True))) for piece in pieces])

    def trained(weights: Tensors) -> Tensor:
        values = {name: p.detach().clone().requires_grad_() for name, p in net.model.named_parameters()} | weights
        for part in before:
            slopes = torch.autograd.grad(loss(values, part), list(values.values()), create_graph=True)
            for (name, value), slope in zip(list(values.items()), slopes, strict=True):
                values[name] = value - rate * slope * masks.get(name, 1)
        return loss(values, last)

    return absolute(worth(trained, net.weights, masks))


def ntk_sap(net: "Net", masks: Tensors, batches: int = 5, batch_size: int = 100, epsilon: float = 0.01) -> Tensors:
    """d/dc of the change in outputs by noise on the weights, over all batches; draws weights, inputs, noise in turn."""

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=net.random).double()

    draws = []
    for _ in range(batches):
        weights = {name: w.square().mean().sqrt() * drawn(*w.shape) for name, w in net.weights.items()}
        x = drawn(batch_size, *net.input_shape)
        draws.append((weights, x, {name: epsilon * drawn(*w.shape) for name, w in net.weights.items()}))

    def change(c: Tensors) -> Tensor:
        summed = torch.zeros((), dtype=torch.float64)
        for weights, x, noise in draws:
            model = still(net.model, {name: w * masks[name] for name, w in weights.items()}, x)
            there, here = (
                functional_call(model, {name: c[name] * w for name, w in these.items()}, x)
                for these in (weights, {name: w + noise[name] for name, w in weights.items()})
            )
            summed = summed + ((there - here) ** 2).sum()
        return summed

    return absolute(worth(change, {name: torch.ones_like(w) for name, w in net.weights.items()}, masks))


def still(model: nn.Module, weights: Tensors, x: Tensor) -> nn.Module:
    """A copy in eval mode; if `model` is in train mode, the copy has the norm statistics of the batch x."""
    model, norms = copy.deepcopy(model), nn.BatchNorm2d if model.training else ()
    for module in model.modules():
        module.training = isinstance(module, norms)
        if module.training:
            module.momentum = 1.0
    functional_call(model, weights, x)
    return model.eval()


def absolute(tensors: Tensors) -> Tensors:
    return {name: tensor.abs() for name, tensor in tensors.items()}


SCORES: dict[str, Callable[["Net", Tensors], Tensors]] = {
    "magnitude": magnitude,
    "snip": snip,
    "iter_snip": snip,
    "force": snip,
    "grasp": grasp,
    "grasp_official": grasp_official,
    "grasp_submission": grasp_submission,
    "synflow": synflow,
    "synflow_l2": synflow_l2,
    "synflow_l2 power=1": partial(synflow_l2, power=1),
    "prospr": prospr,
    "ntk_sap batches=2 batch_size=6": partial(ntk_sap, batches=2, batch_size=6),
}
RANDOM = ["random", "random_uniform", "random_erk", "random_uniform_plus"]
"""Scorers without a formula for each weight."""


# The net, the schedule, the choice ----------------------------------------------------------------------------------


class Net:
    """A copy of the model in the given mode, its prunable weights, and the data and loss for the scores."""

    def __init__(
        self, model: nn.Module, mode: str, data: Batches, input_shape: tuple[int, ...], loss=cross_entropy, *, seed=0
    ):
        self.model = copy.deepcopy(model).train(mode == "train")
        maps = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
        layers = {name: module for name, module in self.model.named_modules() if isinstance(module, maps)}
        self.weights = {f"{name}.weight": layer.weight.detach() for name, layer in layers.items()}
        self.data, self.input_shape, self.loss = data, input_shape, loss
        self.random = torch.Generator().manual_seed(seed)
        torch.randint(2**62, (), generator=self.random)  # the library draws a seed for dropout and the like

    def __call__(self, weights: Tensors, x: Tensor) -> Tensor:
        return functional_call(self.model, weights, x)


SCHEDULES = {
    "exponential": lambda s, t, T: math.exp(math.log(s) * t / T),
    "linear": lambda s, t, T: 1 - (1 - s) * t / T,
    "halving": lambda s, t, T: s if t == T else max(s, 1 / 2**t),
}


def apportioned(votes: dict[str, int | Fraction], keep: int) -> dict[str, int]:
    """How many weights of each layer are kept, by the Sainte-Laguë method in exact arithmetic.

    With the layer sizes as votes this is the same fraction of each layer, rounded so that the total is exact.
    """
    kept = dict.fromkeys(votes, 0)
    for _ in range(keep):
        kept[max(votes, key=lambda name: Fraction(votes[name], 2 * kept[name] + 1))] += 1
    return kept


def erk(shapes: dict[str, tuple[int, ...]], keep: int) -> dict[str, float]:
    """Weights to keep in each layer: c * sum(shape), at most the whole layer, with c such that they sum to `keep`."""
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    low, high = 0.0, float(max(sizes.values()))
    for _ in range(200):
        c = (low + high) / 2
        found = {name: min(sizes[name], c * sum(shape)) for name, shape in shapes.items()}
        low, high = (c, high) if sum(found.values()) < keep else (low, c)
    return found


@dataclass
class Choice:
    """Masks, the last scores and candidates, and the smallest relative distance of scores at any cut."""

    masks: Tensors
    scores: Tensors
    candidates: Tensors
    margin: float


def prune(
    scorer: str, net: Net, sparsity: float, iterations: int = 1, schedule: str = "exponential", scope: str = "global"
) -> Choice:
    """Score and select T times; only FORCE may select weights again that it has removed."""
    everything = {name: torch.ones_like(w, dtype=torch.bool) for name, w in net.weights.items()}
    sizes = {name: w.numel() for name, w in net.weights.items()}
    masks, margin = everything, math.inf
    for t in range(1, iterations + 1):
        keep = round(SCHEDULES[schedule](1 - sparsity, t, iterations) * sum(sizes.values()))
        scores, candidates = SCORES[scorer](net, masks), everything if scorer == "force" else masks
        counts = apportioned(sizes, keep) if scope == "layer" else {None: keep}
        masks = {name: torch.zeros_like(mask) for name, mask in everything.items()}
        size = max(float(s.abs().max()) for s in scores.values())
        for layer, count in counts.items():
            # (score, layer, flat index) in the order of the weights; a stable sort keeps this order among ties.
            entries = [
                (value, name, index)
                for name in ([layer] if layer else sizes)
                for index, (value, live) in enumerate(zip(flat(scores[name]), flat(candidates[name]), strict=True))
                if live
            ]
            entries.sort(key=lambda entry: -entry[0])
            for _, name, index in entries[:count]:
                masks[name].view(-1)[index] = True
            if 0 < count < len(entries):
                margin = min(margin, clearance(entries[count - 1][0], entries[count][0], size))
    return Choice(masks, scores, candidates, margin)


def flat(tensor: Tensor) -> list:
    return tensor.flatten().tolist()


def clearance(kept: float, removed: float, size: float) -> float:
    """The relative distance of two scores at a cut; exact zeros (dead units) tie by rule, so they count as clear."""
    if kept == removed == 0:
        return math.inf
    larger = max(abs(kept), abs(removed))
    return (kept - removed) / larger if larger > 1e-11 * size else 0.0
