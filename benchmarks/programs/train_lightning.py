"""An ordinary Lightning script: it knows nothing of its launcher."""

from typing import Any

import lightning.pytorch as pl
import torch
from mark import mark
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

EPOCHS = 5


class Classifier(pl.LightningModule):
    """Two blobs, told apart."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        self.losses: list[float] = []

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        """The loss of one batch."""
        x, y = batch
        loss = nn.functional.cross_entropy(self.net(x), y)
        self.log("loss", loss, on_step=False, on_epoch=True, sync_dist=True)
        return loss

    def on_train_epoch_end(self) -> None:
        """Keep the epoch's loss."""
        self.losses.append(float(self.trainer.callback_metrics["loss"]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam."""
        return torch.optim.Adam(self.parameters(), lr=0.01)


def main() -> None:
    """Train, and say what came out."""
    pl.seed_everything(1)
    y = torch.randint(0, 2, (512,))
    x = torch.randn(512, 8) + 2.0 * y[:, None]
    model = Classifier()
    trainer = pl.Trainer(accelerator="cpu", devices=2, strategy="ddp", max_epochs=EPOCHS)
    trainer.fit(model, DataLoader(TensorDataset(x, y), batch_size=32, shuffle=True))
    weights = [float(p.detach().double().sum()) for p in model.parameters()]
    mark("trained", world_size=trainer.world_size, losses=model.losses, weights=str(weights))


main()
