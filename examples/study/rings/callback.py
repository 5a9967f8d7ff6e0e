"""A callback of Lightning: what it logs is a column of metrics.csv."""

import pytorch_lightning as pl
from torch import nn


class DeadUnits(pl.Callback):
    """Counts the units that no weight leads to."""

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The same in each epoch, as masks stay."""
        layers = (layer for layer in pl_module.net.modules() if isinstance(layer, nn.Linear))
        dead = sum(int((layer.weight == 0).all(1).sum()) for layer in layers)
        pl_module.log("dead_units", float(dead), logger=False)
