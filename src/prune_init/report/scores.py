"""Scores of a net at initialisation, summed by neuron and averaged by layer, as in the paper's theory."""

import copy
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from prune_init.flow.laws import conservation
from prune_init.flow.theorems import Neurons
from prune_init.loop import prune
from prune_init.pruning.masks import Tensors
from prune_init.pruning.sample import Batch


@dataclass(frozen=True)
class ScorerFlow:
    """The scores of one scorer, summed by neuron and averaged by layer.

    Attributes:
        incoming, outgoing: sum of scores over the incoming and the outgoing weights of each hidden neuron.
        sizes: number of weights of each layer.
        means: mean absolute score of each layer.
    """

    incoming: Tensor
    outgoing: Tensor
    sizes: list[int]
    means: list[float]


def flows(model: nn.Module, scorers: Iterable[str], data: list[Batch]) -> dict[str, ScorerFlow]:
    """Score the dense net once with each scorer; `model` is not changed."""
    shape = tuple(data[0][0].shape[1:])
    neurons = conservation(model, data[0][0][:2]).neurons
    found = {}
    for scorer in scorers:
        scores = prune(copy.deepcopy(model), scorer, 0.0, iterations=1, input_shape=shape, data=data).scores
        incoming, outgoing = by_neuron(neurons, scores)
        means = [float(score.double().abs().mean()) for score in scores.values()]
        found[scorer] = ScorerFlow(incoming, outgoing, [score.numel() for score in scores.values()], means)
    return found


def by_neuron(neurons: list[Neurons], scores: Tensors) -> tuple[Tensor, Tensor]:
    """Sum scores over the weights into and out of each neuron; a norm between two layers does not separate them.

    Neurons whose weights cannot be told apart channel by channel (concatenations, groups) are left out.
    """
    feeds = {norm: row for row in neurons for norm in row.readers if f"{norm}.weight" not in scores}
    sums: list[tuple[Tensor, Tensor]] = []
    for row in neurons:
        writers = [w for name in row.writers for w in (feeds[name].writers if name in feeds else (name,))]
        into = [scores[f"{name}.weight"] for name in writers if f"{name}.weight" in scores]
        out = [scores[f"{name}.weight"] for name in row.readers if f"{name}.weight" in scores]
        units = len(row.incoming)
        if into and out and all(len(s) == units for s in into) and all(s.shape[1] % units == 0 for s in out):
            incoming = torch.stack([s.double().flatten(1).sum(1) for s in into]).sum(0)
            # A linear layer after a flatten has several consecutive inputs for each channel.
            outgoing = torch.stack([s.double().sum(0).reshape(units, -1).sum(1) for s in out]).sum(0)
            sums.append((incoming, outgoing))
    if not sums:
        return torch.empty(0), torch.empty(0)
    return torch.cat([i for i, _ in sums]), torch.cat([o for _, o in sums])
