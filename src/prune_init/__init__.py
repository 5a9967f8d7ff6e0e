"""Prune neural networks at initialisation.

    result = prune_init.prune(model, scorer="synflow", sparsity=0.98, input_shape=(3, 32, 32))

All of this needs only torch; Lightning, Hydra and W&B are imported by the subpackages that use them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prune_init import scorers as scorers
    from prune_init.analysis.critical_compression import critical_compression as critical_compression
    from prune_init.compaction.compact import compact as compact
    from prune_init.compaction.compact import expand as expand
    from prune_init.contract import check_scorer as check_scorer
    from prune_init.errors import InputError as InputError
    from prune_init.flow.laws import conservation as conservation
    from prune_init.loop import prune as prune
    from prune_init.pruning.connectivity import connectivity as connectivity
    from prune_init.pruning.masks import load_masks as load_masks
    from prune_init.pruning.result import PruneResult as PruneResult
    from prune_init.pruning.upkeep import apply_masks as apply_masks
    from prune_init.pruning.upkeep import keep as keep

__version__ = "0.1.0"

_HOMES = {
    "InputError": "errors",
    "PruneResult": "pruning.result",
    "apply_masks": "pruning.upkeep",
    "check_scorer": "contract",
    "compact": "compaction.compact",
    "connectivity": "pruning.connectivity",
    "conservation": "flow.laws",
    "critical_compression": "analysis.critical_compression",
    "expand": "compaction.compact",
    "keep": "pruning.upkeep",
    "load_masks": "pruning.masks",
    "prune": "loop",
}
__all__ = ["scorers", *_HOMES]


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that a command that is refused need not wait for torch."""
    if name not in _HOMES:
        try:
            return import_module(f"{__name__}.{name}")
        except ModuleNotFoundError:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
