"""`engine.core`, as `pytorch_lightning.core` is called where only the package's name is swapped."""

from engine import LightningDataModule, LightningModule

__all__ = ["LightningDataModule", "LightningModule"]
