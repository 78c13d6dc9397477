"""A module whose metrics are known beforehand: for tests of what looks at metrics."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch.utils.data import DataLoader

from engine import LightningModule, Trainer


class Scripted(LightningModule):
    """Trains one weight; logs `scores` one after the other, one in each validation."""

    def __init__(self, scores: Iterable[float] = (), name: str = "score", batches: int = 4) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.scores = iter(scores)
        self.name = name
        self.batches = batches

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        loss = (self.weight * batch).mean()
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        pass

    def on_validation_epoch_end(self) -> None:
        score = next(self.scores, None)
        if score is not None:
            self.log(self.name, score, prog_bar=True)

    def test_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        self.log("test_loss", batch.mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(torch.ones(self.batches, 1))  # type: ignore[arg-type]

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(torch.ones(2, 1))  # type: ignore[arg-type]

    def test_dataloader(self) -> DataLoader[Any]:
        return DataLoader(torch.ones(2, 1))  # type: ignore[arg-type]


def trainer_for(folder: Any, *callbacks: Any, **options: Any) -> Trainer:
    """A quiet trainer that writes below `folder`."""
    defaults: dict[str, Any] = {
        "max_epochs": 1,
        "accelerator": "cpu",
        "default_root_dir": str(folder),
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
        "num_sanity_val_steps": 0,
        "callbacks": list(callbacks),
    }
    if any(hasattr(callback, "best_model_path") for callback in callbacks):
        defaults["enable_checkpointing"] = True
    return Trainer(**{**defaults, **options})
