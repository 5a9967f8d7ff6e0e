"""Residual networks for small images: ResNet-18/34/50, wide ResNets, and the thin CIFAR ResNets."""

from collections import OrderedDict
from collections.abc import Callable, Sequence

from torch import Tensor, nn

from prune_init.architectures.inputs import image_shape, positive, with_input_shape
from prune_init.architectures.weights import kaiming_normal
from prune_init.errors import InputError


class Residual(nn.Module):
    """relu(branch(x) + shortcut(x)); the shortcut is a 1x1 convolution where the shape changes."""

    def __init__(self, branch: nn.Sequential, wide_in: int, wide_out: int, stride: int) -> None:
        super().__init__()
        self.branch = branch
        same = stride == 1 and wide_in == wide_out
        self.shortcut = nn.Identity() if same else nn.Sequential(*_norm_conv(wide_in, wide_out, 1, stride))
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, wide_in, H, W) to (N, wide_out, H / stride, W / stride)."""
        return self.relu(self.branch(x) + self.shortcut(x))


def _norm_conv(wide_in: int, wide_out: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    """A convolution and its batch norm; the convolution needs no bias, since the batch norm has one."""
    convolution = nn.Conv2d(wide_in, wide_out, kernel, stride, padding=kernel // 2, bias=False)
    return [convolution, nn.BatchNorm2d(wide_out)]


def _basic(wide_in: int, wide_out: int, stride: int) -> Residual:
    """Two 3x3 convolutions (He et al. 2016, figure 5 left)."""
    first, second = _norm_conv(wide_in, wide_out, 3, stride), _norm_conv(wide_out, wide_out, 3)
    return Residual(nn.Sequential(*first, nn.ReLU(), *second), wide_in, wide_out, stride)


def _bottleneck(wide_in: int, wide_out: int, stride: int) -> Residual:
    """1x1, 3x3 and 1x1 convolutions, the first two a quarter as wide (figure 5 right); the 3x3 one has the stride."""
    width = wide_out // 4
    reduce, middle = _norm_conv(wide_in, width, 1), _norm_conv(width, width, 3, stride)
    branch = nn.Sequential(*reduce, nn.ReLU(), *middle, nn.ReLU(), *_norm_conv(width, wide_out, 1))
    return Residual(branch, wide_in, wide_out, stride)


Block = Callable[[int, int, int], Residual]

DEPTHS: dict[int, tuple[Block, int, tuple[int, ...]]] = {
    18: (_basic, 64, (2, 2, 2, 2)),
    34: (_basic, 64, (3, 4, 6, 3)),
    50: (_bottleneck, 256, (3, 4, 6, 3)),
}
"""Block, output width of the first stage, and blocks in each stage, by depth (He et al. 2016, table 1)."""


def resnet(depth: int, num_classes: int, input_shape: Sequence[int]) -> nn.Module:
    """ResNet with a 3x3 stem of stride 1 and no max pool, widths 64 to 512.

    Source: He et al. 2016, with the stem of the pruning papers for CIFAR and Tiny-ImageNet. Convolutions
    N(0, 2 / fan out); the linear layer has PyTorch's default initialisation, so its bias is not zero. Prunable weights
    of ResNet-18: CIFAR-10 11,164,352, CIFAR-100 11,210,432, Tiny-ImageNet 11,261,632.

    Args:
        depth: 18, 34 or 50.

    Raises:
        InputError: Another depth, or a shape or number of classes that is not positive.
    """
    return wide_resnet(depth, num_classes, input_shape, width_factor=1)


def wide_resnet(depth: int, num_classes: int, input_shape: Sequence[int], width_factor: int = 2) -> nn.Module:
    """The ResNet above with every stage `width_factor` times as wide; the stem keeps its 64 channels.

    Source: Zagoruyko and Komodakis 2016, table 1. Differs from the reference: SynFlow's code ignores its width,
    so its "WideResNet-18" is ResNet-18 (11,164,352 prunable weights on CIFAR-10); this one has 44,576,448.

    Args:
        depth: 18, 34 or 50.
        width_factor: Multiplies the stage widths 64, 128, 256, 512.

    Raises:
        InputError: Another depth, or a shape, factor or number of classes that is not positive.
    """
    if depth not in DEPTHS:
        raise InputError("architecture.depth", depth, f"allowed: {', '.join(map(str, DEPTHS))}")
    block, width, blocks = DEPTHS[depth]
    shape = image_shape(input_shape)
    model = _network(block, shape[0], 64, width * positive("width_factor", width_factor), blocks, num_classes)
    kaiming_normal(model, mode="fan_out", kinds=(nn.Conv2d,))
    return with_input_shape(model, shape)


def thin_resnet(depth: int, num_classes: int, input_shape: Sequence[int], width: int = 16) -> nn.Module:
    """The CIFAR ResNet of three stages, 16, 32 and 64 channels wide.

    Source: He et al. 2016, section 4.2, as in Frankle et al. 2020: a 1x1 convolution with batch norm as the
    shortcut between stages, all weights N(0, 2 / fan in), biases 0. ResNet-20 has 270,896 prunable weights on CIFAR-10.
    Differs from He et al., whose shortcuts have no parameters: theirs has 268,336.

    Args:
        depth: 6 n + 2, with n blocks in each stage: 20, 32, 44, 56, 110.
        width: Channels of the stem and the first stage; each further stage is twice as wide.

    Raises:
        InputError: Another depth, or a shape, width or number of classes that is not positive.
    """
    if depth < 8 or depth % 6 != 2:
        raise InputError("architecture.depth", depth, "allowed: 6 n + 2, such as 20, 32, 44, 56, 110")
    shape = image_shape(input_shape)
    blocks = (depth // 6,) * 3
    model = _network(_basic, shape[0], positive("width", width), width, blocks, num_classes)
    kaiming_normal(model)
    return with_input_shape(model, shape)


def _network(
    block: Block, channels: int, stem: int, width: int, blocks: tuple[int, ...], num_classes: int
) -> nn.Sequential:
    """A 3x3 stem, stages that each halve the image and double `width`, global average pool, linear layer."""
    stages = nn.Sequential()
    wide_in = stem
    for stage, count in enumerate(blocks):
        wide_out = width * 2**stage
        residuals = nn.Sequential()
        for position in range(count):
            residuals.append(block(wide_in, wide_out, 2 if stage > 0 and position == 0 else 1))
            wide_in = wide_out
        stages.append(residuals)
    return nn.Sequential(
        OrderedDict(
            stem=nn.Sequential(*_norm_conv(channels, stem, 3), nn.ReLU()),
            stages=stages,
            pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            classifier=nn.Linear(wide_in, positive("num_classes", num_classes)),
        )
    )
