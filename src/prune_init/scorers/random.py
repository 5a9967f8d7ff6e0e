"""Random pruning: the baseline that any scorer has to beat."""

from dataclasses import dataclass

import torch

from prune_init.pruning.masks import Tensors
from prune_init.pruning.scored_net import ScoredNet


@dataclass(frozen=True)
class Random:
    """Uniform noise over all weights at once: every layer loses about the same fraction. No data, one iteration."""

    iterations: int = 1
    mode: str = "eval"

    def __call__(self, net: ScoredNet) -> Tensors:
        """Independent draws from U(0, 1), made on the generator's device so that they are the same on any device."""
        source = net.generator
        return {
            name: torch.rand(w.shape, generator=source, device=source.device, dtype=torch.float32).to(w.device)
            for name, w in net.weights.items()
        }
