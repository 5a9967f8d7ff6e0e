"""The initial weights that the published networks share."""

from typing import Literal

from torch import nn


def kaiming_normal(
    model: nn.Module,
    mode: Literal["fan_in", "fan_out"] = "fan_in",
    kinds: tuple[type[nn.Conv2d] | type[nn.Linear], ...] = (nn.Conv2d, nn.Linear),
) -> None:
    """Draw the weights of all layers of `kinds` from N(0, 2 / fan), in place; their biases become 0.

    Source: He et al. 2015, "Delving Deep into Rectifiers", section 2.2. The last linear layer has ReLU's gain
    too, as in the published pruning code. Norm layers already start at weight 1 and bias 0.
    """
    for layer in model.modules():
        if isinstance(layer, kinds):
            nn.init.kaiming_normal_(layer.weight, mode=mode, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
