"""Two networks, two optimizers: a generator learns to put points on a ring that it never sees.

python examples/gan.py
plaunch --procs 2 examples/gan.py
"""

import argparse
import math

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from engine import LightningModule, Trainer, seed_everything
from engine.loggers import CSVLogger


def ring(count):
    """Points around (0, 0), at a distance of about 2."""
    fixed = torch.Generator().manual_seed(42)
    angle = 2 * math.pi * torch.rand(count, generator=fixed)
    distance = 2 + 0.05 * torch.randn(count, generator=fixed)
    return torch.stack([distance * angle.cos(), distance * angle.sin()], dim=1)


def layers(before, width, after):
    hidden = [nn.Linear(before, width), nn.LeakyReLU(0.2), nn.Linear(width, width)]
    return nn.Sequential(*hidden, nn.LeakyReLU(0.2), nn.Linear(width, after))


class GAN(LightningModule):
    def __init__(self, latent=4, width=64, lr=1e-3):
        super().__init__()
        self.save_hyperparameters()
        self.generator = layers(latent, width, 2)
        self.discriminator = layers(2, width, 1)

    def forward(self, noise):
        return self.generator(noise)

    def noise(self, count):
        return torch.randn(count, self.hparams.latent, device=self.device)

    def judged(self, points, are_real):
        """How wrong the discriminator is where all points are real, or none is."""
        verdict = self.discriminator(points)
        return F.binary_cross_entropy_with_logits(verdict, torch.full_like(verdict, are_real))

    def training_step(self, batch, batch_idx, optimizer_idx):
        [real] = batch
        made = self(self.noise(len(real)))
        if optimizer_idx == 0:  # the generator: its points shall pass for real ones
            loss = self.judged(made, 1.0)
            self.log("generator_loss", loss, on_epoch=True)
        else:  # the discriminator: it shall tell them apart
            loss = self.judged(real, 1.0) + self.judged(made.detach(), 0.0)
            self.log("discriminator_loss", loss, on_epoch=True)
        return loss

    def validation_step(self, batch, batch_idx):
        """How many points are on the ring, and on how much of it there are any."""
        x, y = self(self.noise(1000)).unbind(dim=1)
        is_near = ((x.square() + y.square()).sqrt() - 2).abs() < 0.4
        sectors = (8 * torch.atan2(y, x)[is_near] / (2 * math.pi)).floor().unique()
        self.log("on_ring", is_near.float().mean(), prog_bar=True)
        self.log("sectors", float(len(sectors)), prog_bar=True)

    def configure_optimizers(self):
        options = {"lr": self.hparams.lr, "betas": (0.5, 0.999)}
        return (
            torch.optim.Adam(self.generator.parameters(), **options),
            torch.optim.Adam(self.discriminator.parameters(), **options),
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=10)
    args = parser.parse_args()

    seed_everything(1)
    trainer = Trainer(
        max_epochs=args.epochs,
        accelerator="auto",
        log_every_n_steps=20,
        logger=CSVLogger(),
    )
    points = DataLoader(TensorDataset(ring(8192)), batch_size=64, shuffle=True)
    once = DataLoader(TensorDataset(torch.zeros(2, 1)))  # validation looks at no data
    trainer.fit(GAN(), points, once)


if __name__ == "__main__":
    main()
