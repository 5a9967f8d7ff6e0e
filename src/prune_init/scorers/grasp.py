"""GraSP: gradient signal preservation (Wang et al. 2020), as corrected."""

from dataclasses import dataclass
from typing import Any

from prune_init.errors import InputError, ModelError
from prune_init.pruning.masks import Tensors
from prune_init.pruning.scored_net import ScoredNet
from prune_init.pruning.structures import mapped, outputs


@dataclass(frozen=True)
class Grasp:
    """w * (H g): keep the weights whose removal would lower the gradient flow |g|^2 most.

    g and H are the gradient and the Hessian of the loss of logits / temperature, both on the same examples. Scores are
    signed: the published criterion removes the largest -w * (H g), so the largest w * (H g) are kept.

    As published: train mode, temperature 200, ten examples per class. Differs from the published code in that
    batches are weighted by their size and the classifier is scored with its own initial weights.
    """

    iterations: int = 1
    mode: str = "train"
    temperature: float = 200.0
    examples_per_class: int = 10

    def __post_init__(self) -> None:
        """Refuse a temperature that is not above 0: it would reverse the ranking or give NaN."""
        if not self.temperature > 0:
            raise InputError("scorer.temperature", self.temperature, "allowed: numbers above 0")

    def __call__(self, net: ScoredNet) -> Tensors:
        """w * (H g) of the masked net; needs `data`."""
        cooled = net.with_outputs(self._cooled)
        weights = net.masked_weights()
        gradient = cooled.loss_gradient(weights)
        live = {name: g * net.masks[name] for name, g in gradient.items()}
        products = cooled.hessian_times(live, weights)
        return {name: net.weights[name] * hg for name, hg in products.items()}

    def _cooled(self, output: Any) -> Any:
        """The outputs with floating-point tensors divided by the temperature."""
        if not outputs(output):
            why = f"returns {type(output).__name__}, in which no outputs are found to divide by the temperature"
            raise ModelError(output, why)
        return mapped(lambda t: t / self.temperature if t.is_floating_point() else t, output)
