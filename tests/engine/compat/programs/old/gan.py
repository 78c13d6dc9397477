"""A GAN as programs of Lightning 1.0 to 1.5 were written: two optimizers, argparse, TensorBoard."""

import os
from argparse import ArgumentParser, Namespace
from collections import OrderedDict

import pytorch_lightning as pl
import torch
import torch.nn as nn
import torch.nn.functional as F
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from pytorch_lightning.core import LightningModule
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.trainer import Trainer
from pytorch_lightning.utilities import rank_zero_info
from pytorch_lightning.utilities.distributed import rank_zero_only
from torch.utils.data import DataLoader, Dataset


class Circles(Dataset):
    def __init__(self, length):
        angle = torch.rand(length, generator=torch.Generator().manual_seed(0)) * 6.2832
        self.points = torch.stack([angle.cos(), angle.sin()], dim=1)

    def __len__(self):
        return len(self.points)

    def __getitem__(self, index):
        return self.points[index], 0


class GAN(LightningModule):
    def __init__(self, latent_dim=4, lr=2e-3, b1=0.5, b2=0.999, batch_size=32, **kwargs):
        super().__init__()
        self.save_hyperparameters()
        self.generator = nn.Sequential(nn.Linear(latent_dim, 16), nn.ReLU(), nn.Linear(16, 2))
        self.discriminator = nn.Sequential(nn.Linear(2, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1))
        self.example_input_array = torch.zeros(2, latent_dim)

    def forward(self, z):
        return self.generator(z)

    def adversarial_loss(self, y_hat, y):
        return F.binary_cross_entropy_with_logits(y_hat, y)

    def training_step(self, batch, batch_idx, optimizer_idx):
        real, _ = batch
        z = torch.randn(real.shape[0], self.hparams.latent_dim)
        z = z.type_as(real)
        if optimizer_idx == 0:
            valid = torch.ones(real.size(0), 1).type_as(real)
            g_loss = self.adversarial_loss(self.discriminator(self(z)), valid)
            tqdm_dict = {"g_loss": g_loss}
            self.log_dict(tqdm_dict, prog_bar=True)
            return OrderedDict({"loss": g_loss, "progress_bar": tqdm_dict, "log": tqdm_dict})
        valid = torch.ones(real.size(0), 1).type_as(real)
        fake = torch.zeros(real.size(0), 1).type_as(real)
        real_loss = self.adversarial_loss(self.discriminator(real), valid)
        fake_loss = self.adversarial_loss(self.discriminator(self(z).detach()), fake)
        d_loss = (real_loss + fake_loss) / 2
        self.log("d_loss", d_loss, prog_bar=True, on_step=True, on_epoch=True, logger=True)
        return {"loss": d_loss}

    def configure_optimizers(self):
        betas = (self.hparams.b1, self.hparams.b2)
        opt_g = torch.optim.Adam(self.generator.parameters(), lr=self.hparams.lr, betas=betas)
        opt_d = torch.optim.Adam(self.discriminator.parameters(), lr=self.hparams.lr, betas=betas)
        return [opt_g, opt_d], []

    def train_dataloader(self):
        return DataLoader(Circles(256), batch_size=self.hparams.batch_size, shuffle=True)

    def on_epoch_end(self):
        z = torch.randn(8, self.hparams.latent_dim).type_as(self.generator[0].weight)
        radius = self(z).norm(dim=1).mean()
        self.logger.experiment.add_scalar("radius", radius, self.current_epoch)


class Told(Callback):
    """Counts, with the arguments that hooks had in 1.x."""

    def __init__(self):
        super().__init__()
        self.batches = 0

    def on_pretrain_routine_start(self, trainer, pl_module):
        rank_zero_info("Project config")

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx):
        self.batches += 1

    @rank_zero_only
    def on_train_end(self, trainer, pl_module):
        print("batches", self.batches, "steps", trainer.global_step)


def main(args: Namespace) -> None:
    model = GAN(**vars(args))
    trainer = Trainer.from_argparse_args(
        args,
        logger=TensorBoardLogger(save_dir=os.getcwd(), name="gan"),
        callbacks=[Told(), ModelCheckpoint(monitor="d_loss_epoch", mode="min", save_last=True)],
    )
    trainer.fit(model)
    again = GAN.load_from_checkpoint(trainer.checkpoint_callback.last_model_path)
    same = all(
        torch.equal(one, again.state_dict()[name]) for name, one in model.state_dict().items()
    )
    print("same weights", same, "lr", again.hparams.lr)


if __name__ == "__main__":
    parser = ArgumentParser()
    parser.add_argument("--batch_size", type=int, default=64, help="size of the batches")
    parser.add_argument("--lr", type=float, default=0.0002, help="adam: learning rate")
    parser.add_argument("--latent_dim", type=int, default=4)
    parser = pl.Trainer.add_argparse_args(parser)
    hparams = parser.parse_args()
    pl.seed_everything(42)
    main(hparams)
