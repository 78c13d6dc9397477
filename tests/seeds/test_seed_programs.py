"""Whole programs: the template that picks its classes by name, and the least that trains."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support import forkserver

HERE = Path(__file__).parent
DEADLINE_S = 120
LEAST = """\
import torch
from engine import LightningModule, Trainer

class Line(LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
    def training_step(self, batch, batch_idx):
        return (self.layer(batch) - 2 * batch).square().mean()
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

model = Line()
Trainer(max_epochs=20).fit(model, torch.utils.data.DataLoader(torch.randn(64, 1), batch_size=4))
print(model.layer.weight.item())
"""


def run(folder, *words):
    return forkserver.shared().run(words, cwd=folder, timeout=DEADLINE_S)


def old(folder, *words):
    return run(folder, "-m", "engine.compat", "pytorch_lightning", "main.py", *words)


def test_template(tmp_path):
    """S201: main.py, data/ and model/ as the template lays them out: dataset, network and loss by
    name, the Trainer's arguments beside its own, and the best of five epochs is kept."""
    shutil.copytree(HERE / "template", tmp_path / "project")
    done = old(
        tmp_path / "project",
        *("--lr_scheduler", "step", "--limit_train_batches", "1.0", "--log_dir", "first"),
    )
    assert done.returncode == 0, done.stderr

    folder = tmp_path / "project/kfold_log/first/version_0"
    kept = sorted(path.name for path in (folder / "checkpoints").iterdir())
    assert len(kept) == 2
    assert kept[1] == "last.ckpt"
    assert float(kept[0].removesuffix(".ckpt").partition("val_acc=")[2]) > 0.9
    assert "model_name: standard_net\n" in (folder / "hparams.yaml").read_text()

    refused = old(tmp_path / "project", "--model_name", "no_net", "--fast_dev_run", "True")
    assert refused.returncode == 1
    assert "ValueError: Invalid module file or class: no_net.NoNet" in refused.stderr


def test_the_least_that_trains(tmp_path):
    """S249: fifteen lines are a complete training program, and it learns."""
    lines = [line for line in LEAST.splitlines() if line]
    assert len(lines) <= 15
    (tmp_path / "least.py").write_text(LEAST)

    done = run(tmp_path, "least.py")
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == pytest.approx(2, abs=0.3)
