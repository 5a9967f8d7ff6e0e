"""Compare training the compact net with training the masked net: losses of the first steps.

    python scripts/compact_trajectory.py 200 cell=vgg11_synflow_x3 dataset.root=data precision=64-true

The first argument is the number of steps, the others are arguments of `python -m prune_init`. Both nets see the same
batches and are trained as in a run. As a control the masked net is trained once more for the first 20 steps with the
other memory format (`channels_last`), which rounds differently and changes nothing else. Prints the largest relative
differences of the losses up to steps 1, 2, 5, 10, 20, 50, ...
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

CONTROLLED = 20
"""Number of steps of the control, which cost as much as those of the masked net."""


class Losses(pl.Callback):
    """Records the loss of each training step."""

    def __init__(self) -> None:
        self.found: list[float] = []

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, *_: Any) -> None:
        """Record the loss of the step."""
        self.found.append(float(outputs["loss"]))


def losses(overrides: list[str], steps: int) -> list[float]:
    """The losses of the first steps of a run."""
    cfg = compose("config", [*overrides, f"+trainer.max_steps={steps}", "+trainer.limit_val_batches=0"])
    pl.seed_everything(cfg.seed, verbose=False)
    data, watch = make_data(cfg, building.dataset(cfg)), Losses()
    module = make_module(cfg, data, lambda *_: None)
    with tempfile.TemporaryDirectory() as folder:
        make_trainer(cfg, Path(folder), [watch]).fit(module, datamodule=data)
    return watch.found


def main() -> None:
    """Train all nets and print the differences."""
    steps, overrides = int(sys.argv[1]), sys.argv[2:]
    warnings.filterwarnings("ignore")
    with initialize_config_module("prune_init.conf", version_base="1.3"):
        other = str(not compose("config", overrides).channels_last).lower()
        masked, small, control = (
            losses([*overrides, *changed], count)
            for changed, count in (
                (["compact=false"], steps),
                (["compact=true"], steps),
                (["compact=false", f"channels_last={other}"], min(steps, CONTROLLED)),
            )
        )
    print(f"largest relative differences from the masked net's losses; control: channels_last={other}")
    for until in (1, 2, 5, 10, 20, 50, *range(100, steps + 1, 100)):
        if until <= steps:
            found = f"compact {farthest(small[:until], masked):.1e}"
            if until <= len(control):
                found += f", control {farthest(control[:until], masked):.1e}"
            print(f"to step {until}: {found}; loss {masked[until - 1]:.4f}")


def farthest(found: list[float], expected: list[float]) -> float:
    """The largest relative difference, up to the end of the shorter list."""
    return max(abs(one - other) / abs(other) for one, other in zip(found, expected, strict=False))


if __name__ == "__main__":
    main()
