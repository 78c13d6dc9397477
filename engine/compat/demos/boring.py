"""The least of models and data that train: for reports of errors, and for tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset

from engine import LightningDataModule, LightningModule


class RandomDataset(Dataset[torch.Tensor]):
    """So many random rows of one size."""

    def __init__(self, size: int, length: int) -> None:
        self.len = length
        self.data = torch.randn(length, size)

    def __getitem__(self, index: int) -> Any:
        """One row."""
        return self.data[index]

    def __len__(self) -> int:
        return self.len


class RandomDictDataset(RandomDataset):
    """Each row, and one more, in a dict."""

    def __getitem__(self, index: int) -> Any:
        """A dict of two rows."""
        return {"a": self.data[index], "b": self.data[index] + 1}


class RandomIterableDataset(IterableDataset[torch.Tensor]):
    """Random rows that can only be walked through."""

    def __init__(self, size: int, count: int) -> None:
        self.count, self.size = count, size

    def __iter__(self) -> Iterator[torch.Tensor]:
        return (torch.randn(self.size) for _ in range(self.count))


class BoringModel(LightningModule):
    """One layer, from 32 numbers to 2, that learns to give ones."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(32, 2)

    def forward(self, x: torch.Tensor) -> Any:
        """The layer."""
        return self.layer(x)

    def loss(self, preds: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        """How far from ones."""
        wanted = torch.ones_like(preds) if labels is None else labels
        return torch.nn.functional.mse_loss(preds, wanted)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        """The loss of a batch."""
        return {"loss": self.loss(self(batch))}

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        """The loss of a batch."""
        return {"x": self.loss(self(batch))}

    def test_step(self, batch: Any, batch_idx: int) -> Any:
        """The loss of a batch."""
        return {"y": self.loss(self(batch))}

    def configure_optimizers(self) -> Any:
        """Plain SGD, slower after each epoch."""
        optimizer = torch.optim.SGD(self.layer.parameters(), lr=0.1)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, step_size=1)]

    def train_dataloader(self) -> Any:
        """64 rows, one a batch."""
        return DataLoader(RandomDataset(32, 64))

    def val_dataloader(self) -> Any:
        """64 rows, one a batch."""
        return DataLoader(RandomDataset(32, 64))

    def test_dataloader(self) -> Any:
        """64 rows, one a batch."""
        return DataLoader(RandomDataset(32, 64))

    def predict_dataloader(self) -> Any:
        """64 rows, one a batch."""
        return DataLoader(RandomDataset(32, 64))


class ManualOptimBoringModel(BoringModel):
    """The same, stepping by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        """One step of its own."""
        optimizer = self.optimizers()
        loss = self.loss(self(batch))
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
        return loss


class DemoModel(LightningModule):
    """One layer with a size and a rate of one's own."""

    def __init__(self, out_dim: int = 10, learning_rate: float = 0.02) -> None:
        super().__init__()
        self.l1 = torch.nn.Linear(32, out_dim)
        self.learning_rate = learning_rate

    def forward(self, x: torch.Tensor) -> Any:
        """The layer, above zero."""
        return torch.relu(self.l1(x.view(x.size(0), -1)))

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        """The sum of what comes out."""
        return self(batch).sum()

    def configure_optimizers(self) -> Any:
        """Adam."""
        return torch.optim.Adam(self.parameters(), lr=self.learning_rate)


class BoringDataModule(LightningDataModule):
    """64 rows for everything."""

    def setup(self, stage: str | None = None) -> None:
        """Draw them."""
        self.random_full = RandomDataset(32, 64)

    def train_dataloader(self) -> Any:
        """All rows."""
        return DataLoader(self.random_full)

    val_dataloader = test_dataloader = predict_dataloader = train_dataloader
