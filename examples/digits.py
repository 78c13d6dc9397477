"""Train a small convolutional network on handwritten digits.

The same file runs in one process, on several GPUs and on several hosts:

    python examples/digits.py
    plaunch --nodes 2 --procs 2 examples/digits.py
    torchrun --nproc-per-node 4 examples/digits.py
"""

import argparse

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset, random_split

from engine import LightningDataModule, LightningModule, Trainer, seed_everything
from engine.callbacks import ModelCheckpoint
from engine.loggers import CSVLogger, TensorBoardLogger


class DigitsData(LightningDataModule):
    """1,797 grey images of 8x8 pixels, which ship with scikit-learn."""

    def __init__(self, batch_size):
        super().__init__()
        self.batch_size = batch_size

    def setup(self, stage=None):
        digits = load_digits()
        images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
        dataset = TensorDataset(images, torch.tensor(digits.target))
        # The same split on every rank and in every run.
        fixed = torch.Generator().manual_seed(42)
        self.train, self.val, self.test = random_split(dataset, [1257, 270, 270], fixed)

    def train_dataloader(self):
        return DataLoader(self.train, batch_size=self.batch_size, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.val, batch_size=self.batch_size)

    def test_dataloader(self):
        return DataLoader(self.test, batch_size=self.batch_size)


class DigitsClassifier(LightningModule):
    """Two convolutions, one hidden layer, ten classes."""

    def __init__(self, lr):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(
            nn.Conv2d(1, 16, kernel_size=3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, kernel_size=3, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(32 * 2 * 2, 64),
            nn.ReLU(),
            nn.Linear(64, 10),
        )

    def forward(self, images):
        return self.net(images)

    def training_step(self, batch, batch_idx):
        images, labels = batch
        loss = F.cross_entropy(self(images), labels)
        self.log("train_loss", loss, on_epoch=True, prog_bar=True)
        return loss

    def validation_step(self, batch, batch_idx):
        self.evaluate(batch, "val")

    def test_step(self, batch, batch_idx):
        self.evaluate(batch, "test")

    def evaluate(self, batch, stage):
        images, labels = batch
        logits = self(images)
        accuracy = (logits.argmax(dim=1) == labels).float().mean()
        self.log(f"{stage}_loss", F.cross_entropy(logits, labels))
        self.log(f"{stage}_acc", accuracy, prog_bar=True)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.hparams.lr)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=32, help="of each rank")
    parser.add_argument("--lr", type=float, default=2e-3)
    args = parser.parse_args()

    seed_everything(1)
    best = ModelCheckpoint(monitor="val_acc", mode="max", filename="{epoch:02d}-{val_acc:.3f}")
    trainer = Trainer(
        max_epochs=args.epochs,
        accelerator="auto",
        sync_batchnorm=True,
        log_every_n_steps=5,
        logger=[TensorBoardLogger(), CSVLogger()],
        callbacks=[best],
    )
    data = DigitsData(args.batch_size)
    trainer.fit(DigitsClassifier(args.lr), datamodule=data)
    trainer.test(datamodule=data, ckpt_path="best")


if __name__ == "__main__":
    main()
