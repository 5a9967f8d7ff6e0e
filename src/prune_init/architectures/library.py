"""Any image classifier of torchvision or timm, by its name there."""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

import torchvision
from torch import nn

from prune_init.architectures.inputs import image_shape, positive, with_input_shape
from prune_init.errors import InputError, first_line, one_of


def torchvision_model(
    model: str, num_classes: int, input_shape: Sequence[int], pretrained: bool = False, **options: Any
) -> nn.Module:
    """A classifier of `torchvision.models`, with the initial weights that torchvision draws.

    Prunable weights on ImageNet: vgg16 138,344,128, vgg19 143,652,544, resnet18 11,678,912, resnet50 25,502,912.

    Args:
        model: A name of `torchvision.models.list_models(module=torchvision.models)`.
        num_classes: Outputs; pretrained weights allow only their own number of classes.
        input_shape: (C, H, W); C must be 3.
        pretrained: Download torchvision's default weights; otherwise nothing is downloaded.
        options: Further arguments of the model, such as `image_size` of vit_b_16 or `aux_logits` of googlenet.

    Raises:
        InputError: No such model, another number of channels, or pretrained weights for another number of classes.
    """
    names = torchvision.models.list_models(module=torchvision.models)
    if model not in names:
        raise InputError("architecture.model", model, one_of(model, names))
    shape = image_shape(input_shape)
    if shape[0] != 3:
        allowed = "torchvision's models take 3 channels; architecture=timm takes any number"
        raise InputError("architecture.input_shape", list(shape), allowed)
    weights = "DEFAULT" if pretrained else None
    try:
        network = torchvision.models.get_model(
            model, weights=weights, num_classes=positive("num_classes", num_classes), **options
        )
    except ValueError as error:
        raise InputError("architecture.model", model, first_line(error)) from error
    return with_input_shape(network, shape)


def timm_model(
    model: str, num_classes: int, input_shape: Sequence[int], pretrained: bool = False, **options: Any
) -> nn.Module:
    """A classifier of timm (an optional dependency), with the initial weights that timm draws.

    Args:
        model: A name of `timm.list_models()`, with a weight tag (`resnet18.a1_in1k`) if wanted.
        num_classes: Outputs; if pretrained weights have another number, timm makes a new last layer.
        input_shape: (C, H, W) with any C.
        pretrained: Download timm's weights; otherwise nothing is downloaded.
        options: Further arguments of the model, such as `img_size` of a vision transformer.

    Raises:
        InputError: timm is not installed, or there is no such model or weight tag.
    """
    try:
        import timm  # imported here, so that everything else works without it
    except ModuleNotFoundError as error:
        raise InputError("architecture", "timm", "needs timm: pip install 'prune_init[timm]'") from error
    if not timm.is_model(model):
        names = timm.list_models()  # more than a thousand: too many for one line
        near = get_close_matches(model, names, n=5, cutoff=0.5)
        hint = f"did you mean {', '.join(near)}? " if near else ""
        raise InputError("architecture.model", model, f"{hint}allowed: the {len(names)} names of timm.list_models()")
    shape = image_shape(input_shape)
    try:
        network = timm.create_model(
            model, pretrained=pretrained, num_classes=positive("num_classes", num_classes), in_chans=shape[0], **options
        )
    except RuntimeError as error:  # such as an unknown weight tag
        raise InputError("architecture.model", model, first_line(error)) from error
    return with_input_shape(network, shape)
