"""Six activations, one network each, all in one process: which learns best?

python examples/activations.py
"""

import argparse

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from engine import LightningModule, Trainer, seed_everything
from engine.loggers import CSVLogger
from engine.metrics import functional as FM

ACTIVATIONS = (nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Tanh)


class Classifier(LightningModule):
    def __init__(self, activation, width=32, lr=1e-3):
        super().__init__()
        self.save_hyperparameters()
        act = getattr(nn, activation)  # by its name, so that the checkpoint holds plain data
        inner = [layer for _ in range(3) for layer in (nn.Linear(width, width), act())]
        self.net = nn.Sequential(nn.Linear(64, width), act(), *inner, nn.Linear(width, 10))

    def forward(self, images):
        return self.net(images)

    def training_step(self, batch, batch_idx):
        images, labels = batch
        loss = F.cross_entropy(self(images), labels)
        self.log("train_loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch, batch_idx):
        images, labels = batch
        logits = self(images)
        self.log("val_loss", F.cross_entropy(logits, labels))
        self.log("val_acc", FM.accuracy(logits, labels), prog_bar=True)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.hparams.lr)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=5)
    args = parser.parse_args()

    digits = load_digits()
    images = torch.tensor(digits.data, dtype=torch.float32) / 16
    dataset = TensorDataset(images, torch.tensor(digits.target))
    train, val = torch.utils.data.random_split(
        dataset, [1437, 360], torch.Generator().manual_seed(42)
    )
    rows = []
    for activation in ACTIVATIONS:
        seed_everything(1)  # the same order of samples for all
        logger = CSVLogger()
        trainer = Trainer(
            max_epochs=args.epochs,
            logger=logger,
            enable_model_summary=False,
            log_every_n_steps=10,
        )
        train_loader = DataLoader(train, batch_size=16, shuffle=True)
        trainer.fit(Classifier(activation.__name__), train_loader, DataLoader(val, batch_size=64))
        metrics = trainer.callback_metrics
        rows.append((metrics["val_acc"], metrics["val_loss"], activation.__name__, logger.version))

    print(f"{'activation':<12}{'accuracy':>9}{'loss':>8}  run")
    for accuracy, loss, name, version in sorted(rows, reverse=True):
        print(f"{name:<12}{accuracy:>9.3f}{loss:>8.3f}  version_{version}")


if __name__ == "__main__":
    main()
