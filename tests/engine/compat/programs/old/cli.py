"""A program whose command line is LightningCLI's, as the examples of 1.5 were written."""

import json

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping
from pytorch_lightning.demos.boring_classes import RandomDataset
from pytorch_lightning.utilities.cli import LightningCLI
from torch import nn
from torch.utils.data import DataLoader


class Model(pl.LightningModule):
    def __init__(self, width: int = 4, lr: float = 1e-2, name: str = "x"):
        super().__init__()
        self.save_hyperparameters()
        self.layer = nn.Linear(32, width)

    def training_step(self, batch, batch_idx):
        return self.layer(batch).pow(2).mean()

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.layer(batch).pow(2).mean())

    def test_step(self, batch, batch_idx):
        self.log("test_loss", self.layer(batch).pow(2).mean())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.hparams.lr)


class Data(pl.LightningDataModule):
    def __init__(self, batch_size: int = 4):
        super().__init__()
        self.batch_size = batch_size

    def train_dataloader(self):
        return DataLoader(RandomDataset(32, 32), self.batch_size)

    def val_dataloader(self):
        return DataLoader(RandomDataset(32, 8), self.batch_size)

    test_dataloader = val_dataloader


class Stopping(EarlyStopping):
    def __init__(self, patience: int = 3, name: str = "of the callback"):
        super().__init__("val_loss", patience=patience)


class CLI(LightningCLI):
    def add_arguments_to_parser(self, parser):
        parser.add_argument("--note", default="none")
        parser.link_arguments("data.batch_size", "model.width")
        parser.add_lightning_class_args(Stopping, "stopping")
        parser.link_arguments("stopping.name", "model.name")
        parser.set_defaults({"trainer.max_epochs": 1})

    def after_fit(self):
        self.result = self.trainer.test(ckpt_path="best", datamodule=self.datamodule)


def cli_main():
    cli = CLI(
        Model,
        Data,
        seed_everything_default=1234,
        save_config_overwrite=True,
        trainer_defaults={"progress_bar_refresh_rate": 0},
    )
    found = {
        "hparams": dict(cli.model.hparams),
        "steps": cli.trainer.global_step,
        "tested": sorted(cli.result[0]),
        "patience": [c.patience for c in cli.trainer.callbacks if isinstance(c, Stopping)],
        "note": cli.config["fit"]["note"],
        "folder": cli.trainer.log_dir,
    }
    with open("found.json", "w") as file:
        json.dump(found, file)


if __name__ == "__main__":
    cli_main()
