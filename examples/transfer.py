"""A network that learnt the digits 0 to 4 is frozen, and a new last layer learns 5 to 9 from it.

python examples/transfer.py
plaunch --procs 2 examples/transfer.py
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


def images_of(first):
    """Images of five digits from `first` on, and which of the five each one is."""
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
    labels = torch.tensor(digits.target) - first
    chosen = (labels >= 0) & (labels < 5)
    return images[chosen], labels[chosen]


def loader(images, labels, shuffle=False):
    return DataLoader(TensorDataset(images, labels), batch_size=25, shuffle=shuffle)


def make_backbone():
    """Images to 128 features; its norms keep running statistics."""

    def part(before, after):
        convolution = nn.Conv2d(before, after, 3, padding=1)
        return [convolution, nn.BatchNorm2d(after), nn.ReLU(), nn.MaxPool2d(2)]

    return nn.Sequential(*part(1, 16), *part(16, 32), nn.Flatten())


class Classifier(LightningModule):
    def __init__(self, lr=3e-3):
        super().__init__()
        self.save_hyperparameters()
        self.backbone = make_backbone()
        self.head = nn.Linear(128, 5)

    def forward(self, images):
        return self.head(self.backbone(images))

    def training_step(self, batch, batch_idx):
        images, labels = batch
        loss = F.cross_entropy(self(images), labels)
        self.log("train_loss", loss, on_epoch=True)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val_acc", FM.accuracy(self(batch[0]), batch[1]), prog_bar=True)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.hparams.lr)


class Transferred(Classifier):
    """The backbone of a checkpoint gives features, and only the head learns."""

    def __init__(self, path, lr=1e-2):
        super().__init__(lr)
        self.save_hyperparameters()
        self.backbone = Classifier.load_from_checkpoint(path).backbone
        self.backbone.requires_grad_(False)

    def forward(self, images):
        self.backbone.eval()  # norms use their statistics and leave them as they are
        with torch.no_grad():
            features = self.backbone(images)
        return self.head(features)

    def configure_optimizers(self):
        return torch.optim.Adam(self.head.parameters(), lr=self.hparams.lr)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=6)
    args = parser.parse_args()

    def trained(model, first):
        """Half of the images of five digits to learn from, the other half to look at."""
        images, labels = images_of(first)
        trainer = Trainer(
            max_epochs=args.epochs,
            accelerator="auto",
            log_every_n_steps=5,
            logger=CSVLogger(),
        )
        train = loader(images[:450], labels[:450], shuffle=True)
        trainer.fit(model, train, loader(images[450:], labels[450:]))
        return trainer

    seed_everything(1)
    trainer = trained(Classifier(), first=0)
    pretrained = trainer.checkpoint_callback.best_model_path
    trainer = trained(Transferred(pretrained), first=5)
    if trainer.is_global_zero:
        print(f"5 to 9: {trainer.callback_metrics['val_acc']:.3f} are right")


if __name__ == "__main__":
    main()
