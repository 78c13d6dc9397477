"""Trains with `engine` for a given number of steps, and is long enough for whatever is to happen.

Fifteen steps after each beginning every rank says so, and waits until it is told to make room, or
a file ``enough`` is in the run's folder. A checkpoint every ten steps lets it also go on after a
crash without a warning.
"""

import os
import sys
import time
from pathlib import Path

import torch
from torch.utils.data import DataLoader, TensorDataset

from engine import LightningModule, Trainer, seed_everything
from engine.callbacks import ModelCheckpoint
from engine.runtime.coordination.signals import preemption

ENOUGH = Path(os.environ["PLAUNCH_RUN_DIR"], "enough")


class Slow(LightningModule):
    def __init__(self):
        super().__init__()
        self.net = torch.nn.Linear(4, 1)

    def on_fit_start(self):
        self.began = self.global_step
        print(f"rank {self.trainer.global_rank} begins at step {self.began}", flush=True)

    def training_step(self, batch, batch_idx):
        if self.global_step == self.began + 15:
            print(f"rank {self.trainer.global_rank} is at step {self.global_step}", flush=True)
            while preemption.signal is None and not ENOUGH.exists():
                time.sleep(0.02)
        features, targets = batch
        return torch.nn.functional.mse_loss(self.net(features), targets)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


def main():
    seed_everything(1, verbose=False)
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(160, 4, generator=generator)
    data = TensorDataset(features, features.sum(dim=1, keepdim=True))
    loader = DataLoader(data, batch_size=4, shuffle=True, num_workers=1, persistent_workers=True)
    trainer = Trainer(
        max_steps=int(sys.argv[1]),
        accelerator="cpu",
        enable_progress_bar=False,
        enable_model_summary=False,
        logger=False,
        callbacks=[ModelCheckpoint(every_n_train_steps=10, save_last=True)],
    )
    trainer.fit(Slow(), loader)
    print(f"finished at step {trainer.global_step}", flush=True)


if __name__ == "__main__":
    main()
