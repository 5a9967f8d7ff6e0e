"""The order of what happens before training."""

import pytorch_lightning as pl


class PruneFirst(pl.Callback):
    """Prunes before callbacks of the user see the net: what averages weights copies it when it is set up."""

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Do now what the module would do after all callbacks."""
        pl_module.setup(stage)
