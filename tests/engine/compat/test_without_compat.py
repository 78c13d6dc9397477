"""Lightning 1.x lives in engine/compat alone: without that folder the engine is one of 2.x."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ENGINE = Path(__file__).parents[3] / "engine"

PROGRAM = """
import json
import sys
from pathlib import Path

import torch
from torch.utils.data import DataLoader, TensorDataset

import engine
from engine.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint
from engine.loggers import CSVLogger


class Model(engine.LightningModule):
    def __init__(self, lr=0.1):
        super().__init__()
        self.save_hyperparameters()
        self.net = torch.nn.Linear(2, 1)

    def training_step(self, batch, batch_idx):
        loss = self.net(batch[0]).pow(2).mean()
        self.log("loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.net(batch[0]).pow(2).mean())

    def test_step(self, batch, batch_idx):
        self.log("test_loss", self.net(batch[0]).pow(2).mean())

    def predict_step(self, batch, batch_idx):
        return self.net(batch[0])

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=self.hparams.lr)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1)]


class Data(engine.LightningDataModule):
    def train_dataloader(self):
        return DataLoader(TensorDataset(torch.ones(8, 2)), batch_size=2)

    val_dataloader = test_dataloader = predict_dataloader = train_dataloader


def trainer(epochs):
    callbacks = [ModelCheckpoint(monitor="val_loss", save_last=True), LearningRateMonitor()]
    return engine.Trainer(
        accelerator="cpu", max_epochs=epochs, log_every_n_steps=1, logger=CSVLogger("."),
        callbacks=[*callbacks, EarlyStopping("val_loss", patience=9)], default_root_dir=".",
    )


first = trainer(1)
first.fit(Model(), datamodule=Data())
second, model = trainer(3), Model(lr=0.05)
second.fit(model, datamodule=Data(), ckpt_path=first.checkpoint_callback.last_model_path)
assert (first.global_step, second.global_step, second.current_epoch) == (4, 12, 3)
assert "val_loss" in second.callback_metrics
assert second.validate(model, datamodule=Data())[0]["val_loss"] >= 0
assert second.test(model, datamodule=Data())[0]["test_loss"] >= 0
assert len(second.predict(model, datamodule=Data())) == 4
best = Model.load_from_checkpoint(second.checkpoint_callback.best_model_path)
assert best.hparams.lr == 0.05
assert "loss" in (Path(second.logger.log_dir) / "metrics.csv").read_text()
assert engine.tuner.Tuner(trainer(1)).lr_find(model, datamodule=Data(), num_training=5) is not None
try:
    engine.Trainer(max_epoch=3)
except TypeError as error:
    assert "did you mean 'max_epochs'" in str(error)
wrapped = engine.wrap(torch.nn.Linear(2, 1), "mse_loss")
assert isinstance(wrapped, engine.LightningModule)
assert not [name for name in sys.modules if name.startswith("engine.compat")]
assert Path(engine.__file__).parent == Path(sys.argv[1])
"""


def test_without_compat_the_engine_trains_and_resumes(tmp_path: Path) -> None:
    """It trains, validates, tests, predicts, logs, saves, resumes and tunes."""
    copy = tmp_path / "site" / "engine"
    without = shutil.ignore_patterns("compat", "__pycache__")
    shutil.copytree(ENGINE, copy, ignore=without)
    program = tmp_path / "train.py"
    program.write_text(PROGRAM)

    done = subprocess.run(
        [sys.executable, str(program), str(copy)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(copy.parent)},
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr
