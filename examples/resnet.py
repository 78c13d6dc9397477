"""A residual network on small images, with a schedule by step and the best epoch kept.

python examples/resnet.py
plaunch --procs 2 examples/resnet.py
"""

import argparse

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset, random_split

from engine import LightningDataModule, LightningModule, Trainer, seed_everything
from engine.callbacks import LearningRateMonitor, ModelCheckpoint
from engine.loggers import CSVLogger
from engine.metrics import functional as FM


class Images(LightningDataModule):
    """1,797 handwritten digits of 8x8 pixels, which ship with scikit-learn."""

    def __init__(self, batch_size):
        super().__init__()
        self.batch_size = batch_size

    def setup(self, stage=None):
        digits = load_digits()
        images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
        dataset = TensorDataset(images, torch.tensor(digits.target))
        fixed = torch.Generator().manual_seed(42)
        self.train, self.val, self.test = random_split(dataset, [1257, 270, 270], fixed)

    def train_dataloader(self):
        return DataLoader(self.train, self.batch_size, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.val, self.batch_size)

    def test_dataloader(self):
        return DataLoader(self.test, self.batch_size)


class Block(nn.Module):
    """Two convolutions and a way around them."""

    def __init__(self, before, after, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(after)
        self.around = nn.Identity()
        if before != after or stride != 1:
            straight = nn.Conv2d(before, after, 1, stride, bias=False)
            self.around = nn.Sequential(straight, nn.BatchNorm2d(after))

    def forward(self, x):
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.around(x))


class ResNet(LightningModule):
    def __init__(self, width=16, lr=0.1):
        super().__init__()
        self.save_hyperparameters()
        stem = [nn.Conv2d(1, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        stages = [(width, width, 1), (width, 2 * width, 2), (2 * width, 4 * width, 2)]
        self.body = nn.Sequential(*stem, *(Block(*stage) for stage in stages))
        self.head = nn.Linear(4 * width, 10)

    def forward(self, images):
        return self.head(self.body(images).mean(dim=(2, 3)))

    def training_step(self, batch, batch_idx):
        images, labels = batch
        loss = F.cross_entropy(self(images), labels)
        self.log("train_loss", loss, on_epoch=True)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val_acc", FM.accuracy(self(batch[0]), batch[1]), prog_bar=True)

    def test_step(self, batch, batch_idx):
        self.log("test_acc", FM.accuracy(self(batch[0]), batch[1]))

    def configure_optimizers(self):
        options = {"momentum": 0.9, "weight_decay": 5e-4, "nesterov": True}
        optimizer = torch.optim.SGD(self.parameters(), self.hparams.lr, **options)
        steps = self.trainer.estimated_stepping_batches
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.hparams.lr, steps)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=32, help="of each rank")
    args = parser.parse_args()

    seed_everything(1)
    best = ModelCheckpoint(monitor="val_acc", mode="max", filename="{epoch:02d}-{val_acc:.3f}")
    trainer = Trainer(
        max_epochs=args.epochs,
        accelerator="auto",
        sync_batchnorm=True,
        log_every_n_steps=5,
        logger=CSVLogger(),
        callbacks=[best, LearningRateMonitor(logging_interval="step")],
    )
    data = Images(args.batch_size)
    trainer.fit(ResNet(), datamodule=data)
    trainer.test(datamodule=data, ckpt_path="best")


if __name__ == "__main__":
    main()
