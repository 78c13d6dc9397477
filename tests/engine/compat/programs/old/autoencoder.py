"""An autoencoder with a data module, as the examples of 1.3 to 1.5 were written."""

import json
import multiprocessing
import os
import subprocess
import sys
from argparse import ArgumentParser

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from pl_bolts.callbacks import PrintTableMetricsCallback
from pytorch_lightning.callbacks import LearningRateMonitor
from pytorch_lightning.callbacks.early_stopping import EarlyStopping
from pytorch_lightning.callbacks.model_checkpoint import ModelCheckpoint
from pytorch_lightning.core.decorators import auto_move_data
from pytorch_lightning.loggers.base import LightningLoggerBase, rank_zero_experiment
from pytorch_lightning.metrics import functional as FM
from pytorch_lightning.utilities.distributed import rank_zero_only
from pytorch_lightning.utilities.types import EVAL_DATALOADERS, STEP_OUTPUT, TRAIN_DATALOADERS
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split


class ListLogger(LightningLoggerBase):
    """A logger of one's own, as the documentation of 1.x has it."""

    def __init__(self):
        super().__init__()
        self.lines = []
        self.params = None

    @property
    def name(self):
        return "ListLogger"

    @property
    @rank_zero_experiment
    def experiment(self):
        return self.lines

    @property
    def version(self):
        return "0.1"

    @rank_zero_only
    def log_hyperparams(self, params):
        self.params = self._convert_params(params)

    @rank_zero_only
    def log_metrics(self, metrics, step):
        self.lines.append((step, metrics))


class LitAutoEncoder(pl.LightningModule):
    def __init__(self, hidden_dim: int = 3, learning_rate=0.02):
        super().__init__()
        self.save_hyperparameters()
        self.encoder = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, hidden_dim))
        self.decoder = nn.Sequential(nn.Linear(hidden_dim, 16), nn.ReLU(), nn.Linear(16, 8))

    @auto_move_data
    def forward(self, x):
        return self.encoder(x)

    def _prepare_batch(self, batch):
        x, _ = batch
        return x.view(x.size(0), -1)

    def _common_step(self, batch, batch_idx, stage: str):
        x = self._prepare_batch(batch)
        loss = F.mse_loss(x, self.decoder(self(x)))
        self.log(f"{stage}_loss", loss, on_step=True, on_epoch=True)
        return loss

    def training_step(self, batch, batch_idx) -> STEP_OUTPUT:
        return self._common_step(batch, batch_idx, "train")

    def validation_step(self, batch, batch_idx) -> STEP_OUTPUT:
        return self._common_step(batch, batch_idx, "val")

    def validation_epoch_end(self, outputs):
        self.log("val_mean", torch.stack(outputs).mean(), prog_bar=True)

    def test_step(self, batch, batch_idx):
        x, y = batch
        guess = torch.stack([-self(x).sum(1), self(x).sum(1)], dim=1)
        self.log("test_acc", FM.accuracy(guess, y))
        return self._common_step(batch, batch_idx, "test")

    def predict_step(self, batch, batch_idx, dataloader_idx=None):
        return self(self._prepare_batch(batch))

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), lr=self.hparams.learning_rate)
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=1)
        return {"optimizer": optimizer, "lr_scheduler": scheduler, "monitor": "val_loss"}


class Data(pl.LightningDataModule):
    def __init__(self, batch_size: int = 16):
        super().__init__()
        self.batch_size = batch_size
        self.dims = (8,)

    def setup(self, stage=None):
        x = torch.randn(160, 8, generator=torch.Generator().manual_seed(1))
        full = TensorDataset(x, (x.sum(1) > 0).long())
        self.train, self.val = random_split(full, [128, 32], torch.Generator().manual_seed(2))

    def train_dataloader(self) -> TRAIN_DATALOADERS:
        workers = {"num_workers": 1, "multiprocessing_context": "spawn"}
        return DataLoader(self.train, batch_size=self.batch_size, **workers)

    def val_dataloader(self) -> EVAL_DATALOADERS:
        return DataLoader(self.val, batch_size=self.batch_size)

    def test_dataloader(self) -> EVAL_DATALOADERS:
        return DataLoader(self.val, batch_size=self.batch_size)

    def predict_dataloader(self) -> EVAL_DATALOADERS:
        return DataLoader(self.val, batch_size=self.batch_size)


def has_aliases(_):
    return pl.Trainer.__module__


def main(args):
    dm = Data.from_argparse_args(args)
    logger = ListLogger()
    stop = EarlyStopping(monitor="val_loss", patience=3)
    checkpoint = ModelCheckpoint(monitor="val_mean", filename="{epoch}-{val_mean:.2f}")
    table = PrintTableMetricsCallback()
    trainer = pl.Trainer.from_argparse_args(
        args, logger=logger, callbacks=[stop, checkpoint, table, LearningRateMonitor()]
    )
    trainer.fit(LitAutoEncoder(args.hidden_dim), datamodule=dm)
    result = trainer.test(ckpt_path="best", datamodule=dm)
    predictions = trainer.predict(ckpt_path="best", datamodule=dm)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        in_a_child = pool.map(has_aliases, [0])
    elsewhere = subprocess.run(
        [sys.executable, "-c", "import pytorch_lightning"], capture_output=True, text=True
    )
    found = {
        "argv": sys.argv,
        "main": [__name__, __file__, type(__spec__).__name__],
        "path": sys.path[0],
        "size": dm.size(),
        "acc": result[0]["test_acc"],
        "predictions": [list(one.shape) for one in predictions],
        "params": dict(logger.params),
        "logged": sorted({name for _, metrics in logger.lines for name in metrics}),
        "child": in_a_child[0],
        "elsewhere": elsewhere.stderr.strip().splitlines()[-1],
        "module": LitAutoEncoder.__mro__[1].__module__,
        "best": os.path.basename(checkpoint.best_model_path),
    }
    with open("found.json", "w") as file:
        json.dump(found, file)


def cli_main():
    pl.seed_everything(1234)
    parser = ArgumentParser()
    parser.add_argument("--hidden_dim", type=int, default=2)
    parser = Data.add_argparse_args(parser)
    parser = pl.Trainer.add_argparse_args(parser)
    main(parser.parse_args())


if __name__ == "__main__":
    cli_main()
