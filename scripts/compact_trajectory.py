"""Whether training the compact net is training the masked one: losses of the first steps, side by side.

    python scripts/compact_trajectory.py 200 cell=vgg11_synflow_x3 dataset.root=data precision=64-true

The first argument is the number of steps, the others are those of `python -m prune_init`. Both nets see the same
batches, and both are trained as a run would train them. Prints the largest relative difference of the losses up to
steps 1, 10, 20, 50, 100, 200, ...
"""

import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from hydra import compose, initialize_config_module

from prune_init.command import building
from prune_init.command.assembly import make_data, make_module, make_trainer


class Losses(pl.Callback):
    """The loss of each training step."""

    def __init__(self) -> None:
        self.found: list[float] = []

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, *_: Any) -> None:
        """Called after each step."""
        self.found.append(float(outputs["loss"]))


def losses(overrides: list[str], steps: int) -> list[float]:
    """Those of the run's first steps."""
    cfg = compose("config", [*overrides, f"+trainer.max_steps={steps}", "+trainer.limit_val_batches=0"])
    pl.seed_everything(cfg.seed, verbose=False)
    data, watch = make_data(cfg, building.dataset(cfg)), Losses()
    module = make_module(cfg, data, lambda *_: None)
    with tempfile.TemporaryDirectory() as folder:
        make_trainer(cfg, Path(folder), [watch]).fit(module, datamodule=data)
    return watch.found


def main() -> None:
    """The script."""
    steps, overrides = int(sys.argv[1]), sys.argv[2:]
    warnings.filterwarnings("ignore")
    with initialize_config_module("prune_init.conf", version_base="1.3"):
        small, masked = (losses([*overrides, f"compact={kind}"], steps) for kind in ("true", "false"))
    far = [abs(one - other) / abs(other) for one, other in zip(small, masked, strict=True)]
    for until in (1, 10, 20, 50, *range(100, len(far) + 1, 100)):
        if until <= len(far):
            print(
                f"steps 1 to {until}: largest relative difference {max(far[:until]):.1e}, loss {masked[until - 1]:.4f}"
            )


if __name__ == "__main__":
    main()
