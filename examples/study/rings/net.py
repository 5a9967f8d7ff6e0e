"""A network of linear layers with layer norm. Any function or class that returns an `nn.Module` can be used."""

from torch import nn


def normed_mlp(*, num_classes: int, input_shape: list[int], width: int = 64, depth: int = 2) -> nn.Sequential:
    """A multilayer perceptron with `depth` hidden layers of `width` units."""
    layers: list[nn.Module] = []
    inputs = input_shape[0]
    for _ in range(depth):
        layers += [nn.Linear(inputs, width), nn.LayerNorm(width), nn.ReLU()]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, num_classes))
