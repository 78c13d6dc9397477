"""A program that makes everything of a dict of names, as the diffusion models' programs do.

It uses names that Lightning itself has dropped: weights_save_path, TestTubeLogger, size(),
on_pretrain_routine_start, on_epoch_end, LearningRateLogger.
"""

import argparse
import importlib
import json
import os
import warnings

import pytorch_lightning as pl
import torch
from packaging import version
from pytorch_lightning import seed_everything
from pytorch_lightning.callbacks import Callback, LearningRateLogger, ModelCheckpoint
from pytorch_lightning.trainer import Trainer
from pytorch_lightning.trainer.states import RunningStage, TrainerFn
from pytorch_lightning.utilities import rank_zero_info, rank_zero_only
from pytorch_lightning.utilities.seed import isolate_rng
from pytorch_lightning.utilities.warnings import PossibleUserWarning
from torch.utils.data import DataLoader, TensorDataset

warnings.filterwarnings("ignore", category=PossibleUserWarning)
SEEN = []


def get_obj_from_str(string):
    module, cls = string.rsplit(".", 1)
    return getattr(importlib.import_module(module, package=None), cls)


def instantiate_from_config(config):
    return get_obj_from_str(config["target"])(**config.get("params", dict()))


def nondefault_trainer_args(opt):
    parser = argparse.ArgumentParser()
    parser = Trainer.add_argparse_args(parser)
    args = parser.parse_args([])
    return sorted(k for k in vars(args) if getattr(opt, k) != getattr(args, k))


class Data(pl.LightningDataModule):
    def __init__(self, batch_size):
        super().__init__(dims=(1, 4))
        self.batch_size = batch_size
        self.train_dataloader = self._train_dataloader

    def _train_dataloader(self):
        x = torch.randn(32, 4, generator=torch.Generator().manual_seed(3))
        return DataLoader(TensorDataset(x), batch_size=self.batch_size, shuffle=True)


class Model(pl.LightningModule):
    def __init__(self, width, monitor=None):
        super().__init__()
        self.net = torch.nn.Linear(4, width)
        self.monitor = monitor
        self.learning_rate = 1.0e-2

    def training_step(self, batch, batch_idx):
        loss = self.net(batch[0]).pow(2).mean()
        SEEN.append(self.trainer.state.fn == TrainerFn.FITTING)
        SEEN.append(self.trainer.state.stage == RunningStage.TRAINING)
        self.log("train/loss", loss, prog_bar=True, logger=True, on_step=True, on_epoch=True)
        return loss

    def on_epoch_end(self):
        with isolate_rng():
            SEEN.append(torch.rand(1).numel() == 1)

    def configure_optimizers(self):
        return torch.optim.AdamW(self.net.parameters(), lr=self.learning_rate)


class SetupCallback(Callback):
    def __init__(self, logdir, ckptdir):
        super().__init__()
        self.logdir = logdir
        self.ckptdir = ckptdir

    def on_keyboard_interrupt(self, trainer, pl_module):
        trainer.save_checkpoint(os.path.join(self.ckptdir, "last.ckpt"))

    def on_pretrain_routine_start(self, trainer, pl_module):
        if trainer.global_rank == 0:
            os.makedirs(self.ckptdir, exist_ok=True)


class ImageLogger(Callback):
    def __init__(self):
        super().__init__()
        self.logger_log_images = {pl.loggers.TestTubeLogger: self._testtube}

    @rank_zero_only
    def _testtube(self, pl_module, step):
        pl_module.logger.experiment.add_image("noise", torch.rand(3, 4, 4), global_step=step)
        SEEN.append(os.path.isdir(pl_module.logger.save_dir))

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx):
        log = self.logger_log_images.get(type(pl_module.logger), lambda *args: None)
        log(pl_module, pl_module.global_step)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--logdir", type=str, default="logs")
    parser = Trainer.add_argparse_args(parser)
    opt, unknown = parser.parse_known_args()
    assert not unknown, unknown
    seed_everything(23)
    config = {k: getattr(opt, k) for k in nondefault_trainer_args(opt)}
    logger = {
        "target": "pytorch_lightning.loggers.TestTubeLogger",
        "params": {"name": "testtube", "save_dir": opt.logdir},
    }
    checkpoint = {
        "target": "pytorch_lightning.callbacks.ModelCheckpoint",
        "params": {"filename": "{epoch:06}", "verbose": True, "save_last": True},
    }
    ckptdir = os.path.join(opt.logdir, "checkpoints")
    checkpoint["params"].update(dirpath=ckptdir, monitor="train/loss", save_top_k=3)
    kwargs = {"logger": instantiate_from_config(logger)}
    if version.parse(pl.__version__) < version.parse("1.4.0"):
        kwargs["checkpoint_callback"] = instantiate_from_config(checkpoint)
    kwargs["callbacks"] = [
        SetupCallback(opt.logdir, ckptdir),
        ImageLogger(),
        LearningRateLogger(),
        instantiate_from_config(checkpoint),
    ]
    trainer = Trainer.from_argparse_args(argparse.Namespace(**config), **kwargs)
    trainer.logdir = opt.logdir
    model, data = Model(width=2, monitor="train/loss"), Data(batch_size=8)
    data.prepare_data()
    data.setup()
    trainer.fit(model, data)
    rank_zero_info("done on rank %d", rank_zero_only.rank)
    kept = [c for c in trainer.callbacks if isinstance(c, ModelCheckpoint)]
    found = {
        "config": config,
        "size": [list(data.size()), data.size(1)],
        "kept": sorted(os.listdir(ckptdir)),
        "callbacks": len(kept),
        "seen": all(SEEN) and len(SEEN),
        "folder": sorted(os.listdir(trainer.logger.log_dir))[-1],
        "default": trainer.weights_save_path,
    }
    with open("found.json", "w") as file:
        json.dump(found, file)


if __name__ == "__main__":
    main()
