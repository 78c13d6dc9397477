"""`engine.core`, as `pytorch_lightning.core` is called where only the package's name is swapped."""

from engine.module.datamodule import LightningDataModule
from engine.module.module import LightningModule

__all__ = ["LightningDataModule", "LightningModule"]
