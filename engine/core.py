"""`engine.core`, as `pytorch_lightning.core` is called where only the package's name is swapped."""

from engine.datamodule import LightningDataModule
from engine.module import LightningModule

__all__ = ["LightningDataModule", "LightningModule"]
