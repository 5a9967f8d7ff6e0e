"""A Lightning callback: each value that it logs becomes a column of metrics.csv."""

import pytorch_lightning as pl
from torch import nn


class DeadUnits(pl.Callback):
    """Counts units without incoming weights."""

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the count; it is the same in each epoch, because the masks do not change."""
        layers = (layer for layer in pl_module.net.modules() if isinstance(layer, nn.Linear))
        dead = sum(int((layer.weight == 0).all(1).sum()) for layer in layers)
        pl_module.log("dead_units", float(dead), logger=False)
