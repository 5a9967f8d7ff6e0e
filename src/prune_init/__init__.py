"""Prune neural networks at initialisation.

    result = prune_init.prune(model, scorer="synflow", sparsity=0.98, input_shape=(3, 32, 32))

Everything here needs torch alone; Lightning, Hydra and W&B are imported by the rooms that use them.
"""

from prune_init import scorers as scorers
from prune_init.analysis.compaction import compact as compact
from prune_init.analysis.compaction import expand as expand
from prune_init.analysis.connectivity import connectivity as connectivity
from prune_init.analysis.conservation_laws import conservation as conservation
from prune_init.analysis.critical_compression import critical_compression as critical_compression
from prune_init.errors import InputError as InputError
from prune_init.pruning.loop import prune as prune
from prune_init.pruning.masks import load_masks as load_masks
from prune_init.pruning.result import PruneResult as PruneResult

__version__ = "0.1.0"
