"""The tuner in a script that starts its own ranks: two real processes."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support import forkserver

ROOT = Path(__file__).parents[3]
DEADLINE_S = 90
SCRIPT = """
import torch
from torch.utils.data import DataLoader, TensorDataset
from engine import LightningModule, Trainer

x = torch.randn(64, 4, generator=torch.Generator().manual_seed(7))
data = TensorDataset(x, (x.sum(1) > 0).long())


class Net(LightningModule):
    def __init__(self):
        super().__init__()
        self.net, self.batch_size, self.lr = torch.nn.Linear(4, 2), 2, 0.1

    def training_step(self, batch, batch_idx):
        return torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def train_dataloader(self):
        return DataLoader(data, batch_size=self.batch_size)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.lr)


trainer = Trainer(
    num_processes=2,
    auto_scale_batch_size="binsearch",
    auto_lr_find=True,
    max_epochs=1,
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
)
model = Net()
trainer.tune(model)
trainer.fit(model)
sizes = model.all_gather(torch.tensor(model.batch_size)).tolist()
rates = model.all_gather(torch.tensor(model.lr)).tolist()
print("found", sizes[0] == sizes[1] > 2, rates[0] == rates[1] != 0.1, trainer.global_step)
"""


def test_tune_comes_before_the_ranks(tmp_path: Path) -> None:
    """S120: `tune` starts them, as `fit` does; both searches end, with one result for all."""
    (tmp_path / "train.py").write_text(SCRIPT)
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = forkserver.shared().run(["train.py"], cwd=tmp_path, env=env, timeout=DEADLINE_S)
    assert done.returncode == 0, done.stderr
    assert "found True True 1" in done.stdout, done.stdout
