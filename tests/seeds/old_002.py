"""Old code of the beginner's tutorial (1.4): digits of scikit-learn, Swish against ReLU."""

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.metrics import functional as FM
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader


class Swish(nn.Module):
    def forward(self, x):
        return x * torch.sigmoid(x)


class MyClassifier(pl.LightningModule):
    def __init__(self, input_dim=64, hidden_dim=32, n_classes=10, activation=None, lr=1e-2):
        super().__init__()
        activation = nn.ReLU() if activation is None else activation
        self.lr = lr
        self.net = nn.Sequential(
            nn.Linear(input_dim, hidden_dim),
            activation,
            nn.Linear(hidden_dim, hidden_dim),
            activation,
            nn.Linear(hidden_dim, n_classes),
        )

    def forward(self, x):
        return self.net(x)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.lr)

    def training_step(self, batch, batch_index):
        x, y = batch
        logits = self(x)
        loss = F.cross_entropy(logits, y)
        self.log("train loss", loss, on_step=True, prog_bar=True)
        return loss

    def validation_step(self, batch, batch_index):
        x, y = batch
        logits = self(x)
        loss = F.cross_entropy(logits, y)
        return loss, logits, y

    def validation_epoch_end(self, outputs):
        losses, accuracies = [], []
        for loss, logits, y in outputs:
            losses.append(loss.item())
            accuracies.append(FM.accuracy(logits, y).item())
        self.log("val_loss", np.mean(losses))
        self.log("val_accuracy", np.mean(accuracies), prog_bar=True)


def fit_without_validation(dataset):
    model = MyClassifier()
    dataloader = DataLoader(dataset)
    trainer = pl.Trainer(max_epochs=1, limit_train_batches=20)
    trainer.fit(model, dataloader)
    return trainer


def main(train_set, val_set, activation=None, epochs=2, gpus=None):
    model = MyClassifier(activation=activation)
    train_loader = DataLoader(train_set, batch_size=32, shuffle=True)
    val_loader = DataLoader(val_set, batch_size=64)
    trainer = pl.Trainer(
        max_epochs=epochs, val_check_interval=0.25, progress_bar_refresh_rate=0, gpus=gpus
    )
    trainer.fit(model, train_loader, val_loader)
    return trainer


def experiment(train_set, val_set):
    for seed in range(3):
        for activation in (nn.ReLU(), Swish()):
            pl.seed_everything(1234 + seed)
            yield main(train_set, val_set, activation, epochs=1)
