"""A small model on small data, and a trainer without decoration: for tests of the engine's core."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from engine import LightningModule, Trainer


def samples(count: int = 24, width: int = 4, dtype: torch.dtype = torch.float32) -> TensorDataset:
    """The same samples each time: inputs, classes, and each sample's index."""
    generator = torch.Generator().manual_seed(7)
    x = torch.randn(count, width, generator=generator, dtype=dtype)
    return TensorDataset(x, (x.sum(1) > 0).long(), torch.arange(count))


def loader(count: int = 24, size: int = 4, shuffle: bool = False, **options: Any) -> DataLoader:
    return DataLoader(samples(count), batch_size=size, shuffle=shuffle, **options)


class Toy(LightningModule):
    """A classifier with dropout, so that random state matters."""

    def __init__(self, width: int = 8, lr: float = 0.1, dropout: float = 0.0) -> None:
        super().__init__()
        self.save_hyperparameters()
        torch.manual_seed(3)
        self.net = torch.nn.Sequential(
            torch.nn.Linear(4, width),
            torch.nn.Tanh(),
            torch.nn.Dropout(dropout),
            torch.nn.Linear(width, 2),
        )
        self.seen: list[int] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)

    def loss(self, batch: Any) -> torch.Tensor:
        return functional.cross_entropy(self(batch[0]), batch[1])

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.seen += batch[2].tolist()
        loss = self.loss(batch)
        self.log("train_loss", loss, on_epoch=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        self.log("val_loss", self.loss(batch))

    def test_step(self, batch: Any, batch_idx: int) -> Any:
        self.log("test_loss", self.loss(batch))

    def predict_step(self, batch: Any, batch_idx: int) -> Any:
        return batch[2]

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=self.hparams.lr)


def quiet(folder: Any, **options: Any) -> Trainer:
    """A trainer that shows nothing and keeps nothing, unless told to."""
    defaults: dict[str, Any] = {
        "max_epochs": 1,
        "default_root_dir": str(folder),
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
    }
    return Trainer(**{**defaults, **options})


def weights(module: torch.nn.Module) -> torch.Tensor:
    """All parameters in one vector."""
    return torch.cat([p.detach().flatten().clone() for p in module.parameters()])
