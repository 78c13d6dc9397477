"""Old code of the tutorial that explains module, data and trainer with images."""

import os

import pytorch_lightning as pl
import torch
from pytorch_lightning import Trainer
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, random_split
from torchvision import models, transforms
from torchvision.datasets import MNIST, ImageFolder


class MNISTDataModule(pl.LightningDataModule):
    def __init__(self, data_dir="./data", batch_size=8):
        super().__init__()
        self.data_dir = data_dir
        self.batch_size = batch_size
        self.transform = transforms.Compose(
            [transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))]
        )

    def prepare_data(self):
        MNIST(self.data_dir, train=True, download=True)
        MNIST(self.data_dir, train=False, download=True)

    def setup(self, stage=None):
        full = MNIST(self.data_dir, train=True, transform=self.transform)
        self.mnist_train, self.mnist_val = random_split(full, [50, 10])
        self.mnist_test = MNIST(self.data_dir, train=False, transform=self.transform)

    def train_dataloader(self):
        return DataLoader(self.mnist_train, batch_size=self.batch_size, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.mnist_val, batch_size=self.batch_size)

    def test_dataloader(self):
        return DataLoader(self.mnist_test, batch_size=self.batch_size)


def train_on_mnist(model_class, **where):
    model = model_class()
    data = MNISTDataModule()
    trainer = Trainer(max_epochs=10, **where)
    trainer.fit(model, data)
    return trainer, model, data


class ImageClassifier(pl.LightningModule):
    def __init__(self, num_classes=10, learning_rate=1e-2):
        super().__init__()
        self.save_hyperparameters()
        self.model = models.resnet18(pretrained=True)
        self.model.fc = nn.Linear(self.model.fc.in_features, num_classes)

    def forward(self, x):
        return self.model(x)

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = F.cross_entropy(self(x), y)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        x, y = batch
        logits = self(x)
        self.log("val_loss", F.cross_entropy(logits, y), prog_bar=True)
        self.log("val_acc", (logits.argmax(dim=1) == y).float().mean(), prog_bar=True)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.hparams.learning_rate)


class ImageDataModule(pl.LightningDataModule):
    def __init__(self, data_dir, batch_size=8, num_workers=0):
        super().__init__()
        self.data_dir = data_dir
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.transform = transforms.Compose([transforms.Resize((32, 32)), transforms.ToTensor()])

    def setup(self, stage=None):
        full = ImageFolder(os.path.join(self.data_dir, "train"), transform=self.transform)
        train_size = int(0.8 * len(full))
        self.train_dataset, self.val_dataset = random_split(
            full,
            [train_size, len(full) - train_size],
            generator=torch.Generator().manual_seed(42),
        )

    def train_dataloader(self):
        return DataLoader(
            self.train_dataset,
            batch_size=self.batch_size,
            shuffle=True,
            num_workers=self.num_workers,
        )

    def val_dataloader(self):
        return DataLoader(
            self.val_dataset, batch_size=self.batch_size, num_workers=self.num_workers
        )


def train_on_images(data_dir, **where):
    data_module = ImageDataModule(data_dir)
    model = ImageClassifier()
    trainer = pl.Trainer(max_epochs=5, progress_bar_refresh_rate=20, **where)
    trainer.fit(model, data_module)
    return trainer
