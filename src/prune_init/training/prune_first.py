"""Prune before other callbacks see the net."""

import pytorch_lightning as pl


class PruneFirst(pl.Callback):
    """Prunes before the user's callbacks see the net: those that average weights copy it in their setup."""

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Call the module's setup, which Lightning would call after that of all callbacks."""
        pl_module.setup(stage)
