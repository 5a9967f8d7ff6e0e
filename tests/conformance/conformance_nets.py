"""Random small nets and data in float64; all parameters and norm statistics differ from their initial values."""

import random
from itertools import pairwise

import torch
from torch import Tensor, nn

Batches = list[tuple[Tensor, Tensor]]

CLASSES = 3


class Residual(nn.Module):
    """A branch of two convolutions with batch norm, and a strided 1x1 convolution as the shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


def mlp(dice: random.Random, *, bias: bool | None = None, inner: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    widths = [6, *(dice.randint(4, 10) for _ in range(dice.randint(1, 3))), CLASSES]
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs, bias=dice.random() < 0.5 if bias is None else bias), inner()]
    return nn.Sequential(*layers[:-1])


def conv(dice: random.Random, *, bias: bool = True) -> nn.Sequential:
    """Three layers; the middle convolution has a stride and sometimes groups."""
    width = 2 * dice.randint(2, 3)
    return nn.Sequential(
        nn.Conv2d(2, width, 3, padding=1, bias=bias),
        nn.LeakyReLU(0.1),
        nn.Conv2d(width, width, 3, stride=2, groups=dice.choice((1, 2)), bias=bias),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(4 * width, CLASSES, bias=bias),
    )


def normed(dice: random.Random) -> nn.Sequential:
    width = dice.randint(3, 5)
    return nn.Sequential(
        nn.Conv2d(2, width, 3, padding=1, bias=dice.random() < 0.5),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, 4, 3, bias=dice.random() < 0.5),
        nn.BatchNorm2d(4, affine=dice.random() < 0.7),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64, 5),
        nn.Tanh(),
        nn.Linear(5, CLASSES),
    )


def residual(dice: random.Random) -> nn.Sequential:
    width = dice.randint(3, 4)
    return nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1, bias=False),
        nn.ReLU(),
        Residual(3, width, dice.choice((1, 2))),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, CLASSES),
    )


def pooled(dice: random.Random, *, bias: bool = True) -> nn.Sequential:
    width = dice.randint(3, 6)
    first, second = dice.sample((nn.MaxPool2d(2), nn.AvgPool2d(2, stride=1)), 2)
    return nn.Sequential(
        nn.Conv2d(2, width, 3, padding=1, bias=bias),
        nn.ReLU(),
        first,
        nn.Conv2d(width, 4, 2, bias=bias),
        nn.ReLU(),
        second,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, CLASSES, bias=bias),
    )


def dropped(dice: random.Random) -> nn.Sequential:
    """A net with dropout, which must be the identity in eval mode."""
    return nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Dropout(0.5), nn.Linear(9, 7), nn.ReLU(), nn.Linear(7, CLASSES))


KINDS = {net.__name__: net for net in (mlp, conv, normed, residual, pooled, dropped)}


def drawn(kind: str, seed: int, **options: object) -> nn.Module:
    """A net of this kind in float64 with random weights, biases, norm parameters and norm statistics."""
    dice = random.Random(f"{kind} {seed}")  # unlike hash(), a text as seed gives the same in every process
    model = KINDS[kind](dice, **options).double()
    generator = torch.Generator().manual_seed(dice.getrandbits(60))
    with torch.no_grad():
        for parameter in model.parameters():
            fan = max(1, parameter[0].numel())
            parameter.normal_(0, fan**-0.5, generator=generator)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.5, generator=generator)
                module.running_var.uniform_(0.3, 3, generator=generator)
    return model


def input_shape(model: nn.Module) -> tuple[int, ...]:
    return (6,) if next(model.parameters()).dim() == 2 else (2, 6, 6)


def sample(model: nn.Module, seed: int, sizes: tuple[int, ...] = ()) -> Batches:
    """Batches of unequal sizes, none of them too small for batch statistics."""
    dice = random.Random(f"sample {seed}")
    sizes = sizes or tuple(dice.sample(range(3, 9), dice.randint(2, 3)))
    generator = torch.Generator().manual_seed(dice.getrandbits(60))
    return [
        (
            torch.randn(size, *input_shape(model), dtype=torch.float64, generator=generator),
            torch.randint(CLASSES, (size,), generator=generator),
        )
        for size in sizes
    ]
