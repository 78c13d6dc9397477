"""What users rely on from version to version: names, installing, and plain torch within."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from argparse import Namespace
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from engine import LightningModule
from engine.callbacks import ProgressBarBase
from tests.engine.public_api import FILE, public_api
from tests.engine.support.toy import Toy, loader, quiet, weights


def test_the_public_api_changes_only_on_purpose() -> None:
    """S010, S246: every public name, and how it is called, is as written down."""
    written, found = FILE.read_text().splitlines(), public_api()

    gone, new = sorted(set(written) - set(found)), sorted(set(found) - set(written))
    assert (gone, new) == ([], []), (
        "the public API has changed; if that is meant, say it in CHANGELOG.md and run "
        "python tests/engine/public_api.py"
    )


# The first digits of each file's sha256.
OLD_CODE = {
    "old_000.py": "ae0730237eb02c11",
    "old_001.py": "bcf2987e7f740b3b",
    "old_002.py": "02d2d718d0f84a2e",
    "old_003.py": "89286042d7f4ee3f",
    "old_004.py": "0a510d4ecb9a6bde",
}


def test_old_code_is_as_it_was_printed() -> None:
    """S010: the tutorials' code blocks, which tests run, are the same from version to version: what
    they need is mended in the engine, not in them."""
    folder = Path(__file__).parents[1] / "seeds"
    found = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        for path in sorted(folder.glob("old_*.py"))
    }
    assert found == OLD_CODE


def test_imports_whose_package_is_swapped() -> None:
    """S001, S002, S003, S004, S006, S007, S008: what programs import of Lightning is found where
    only the name of the package is another one."""
    found: dict[str, Any] = {}
    for line in (
        "import engine as pl",
        "from engine import LightningModule, LightningDataModule, Trainer, seed_everything",
        "from engine.core import LightningModule as Core, LightningDataModule as CoreData",
        "from engine.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint",
        "from engine.callbacks import LearningRateLogger, PrintTableMetricsCallback",
        "from engine.loggers import CometLogger, CSVLogger, MLFlowLogger, NeptuneLogger",
        "from engine.loggers import TensorBoardLogger, TestTubeLogger",
        "from engine.metrics import functional as FM",
    ):
        exec(line, found)
    pl = found["pl"]
    assert found["Core"] is found["LightningModule"] is pl.LightningModule
    assert found["CoreData"] is found["LightningDataModule"] is pl.LightningDataModule
    assert found["Trainer"] is pl.Trainer and found["seed_everything"] is pl.seed_everything
    assert found["FM"] is pl.metrics.functional
    assert pl.LightningCallback is pl.Callback
    kinds = "EarlyStopping LearningRateLogger LearningRateMonitor ModelCheckpoint"
    for name in f"{kinds} PrintTableMetricsCallback".split():
        assert issubclass(found[name], pl.Callback)


def test_installing_leaves_torch_as_it_is() -> None:
    """S009, S248: torch is bounded from below only, and what is installed is enough."""
    needed = [one for one in requires("plaunch") or [] if "extra ==" not in one]
    torch_itself = [one for one in needed if one.startswith("torch")]
    words = ["install", "--dry-run", "--no-index", "--quiet", "--report", "-", *needed]

    done = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", *words],
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["install"] == []
    assert len(torch_itself) == 1
    assert torch_itself[0].startswith("torch>=") and "," not in torch_itself[0]


class Plain(torch.nn.Module):
    """Written for torch alone."""

    def __init__(self) -> None:
        super().__init__()
        self.net = torch.nn.Sequential(
            torch.nn.Linear(3, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)


def test_a_plain_module_trains_as_it_is(tmp_path: Path) -> None:
    """S011: module, loader and optimizer are torch's own, and learn what a plain loop learns."""
    x = torch.randn(24, 3, generator=torch.Generator().manual_seed(0))
    data = TensorDataset(x, x.sum(1, keepdim=True))

    class Lit(LightningModule):
        def __init__(self, model: torch.nn.Module) -> None:
            super().__init__()
            self.model = model

        def training_step(self, batch, batch_idx):
            return torch.nn.functional.mse_loss(self.model(batch[0]), batch[1])

        def configure_optimizers(self):
            return torch.optim.SGD(self.model.parameters(), lr=0.05)

    torch.manual_seed(4)
    ours, theirs = Plain(), Plain()
    theirs.load_state_dict(ours.state_dict())
    quiet(tmp_path, max_epochs=3).fit(Lit(ours), DataLoader(data, batch_size=8))
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.05)
    for _ in range(3):
        for xs, ys in DataLoader(data, batch_size=8):
            optimizer.zero_grad()
            torch.nn.functional.mse_loss(theirs(xs), ys).backward()
            optimizer.step()

    assert type(ours) is Plain
    for mine, wanted in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True):
        assert torch.equal(mine, wanted)


def test_what_old_callbacks_ask_of_a_trainer(tmp_path: Path) -> None:
    """Names of 1.x that programs read of it, each with what it is here."""
    trainer = quiet(tmp_path)
    model = Toy()
    trainer.fit(model, loader(), loader())

    assert trainer.training_type_plugin is trainer.strategy
    assert trainer.training_type_plugin.reduce(torch.tensor([2.0])) == 2
    assert (trainer.use_amp, trainer.tpu_cores, trainer.ipus) == (False, None, None)
    assert trainer.lightning_optimizers == {0: trainer.optimizers[0]}
    assert trainer.is_function_implemented("training_step")
    assert not trainer.is_function_implemented("no_step")
    assert (trainer.resume_from_checkpoint, trainer.tested_ckpt_path) == (None, None)
    assert not trainer.is_slurm_managing_tasks
    assert (trainer.state.fn, trainer.state.stage, trainer.state.finished) == ("fit", "train", True)


class Percent(ProgressBarBase):
    """A bar of one's own, as the documentation of 1.x has it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[float] = []
        self.disable()

    def on_train_batch_end(self, trainer, pl_module, outputs, batch_idx, *rest):
        super().on_train_batch_end(trainer, pl_module, outputs, batch_idx, *rest)
        self.seen.append(100 * self.train_batch_idx / self.total_train_batches)


def test_a_bar_of_ones_own_knows_how_far_the_run_is(tmp_path: Path) -> None:
    """It reads counts of batches; before a run it says that it is in none."""
    bar = Percent()
    with pytest.raises(RuntimeError, match="is not in a run yet"):
        _ = bar.total_train_batches

    quiet(tmp_path, callbacks=[bar], enable_progress_bar=True).fit(Toy(), loader(), loader(8))

    assert bar.seen == pytest.approx([100 * done / 6 for done in range(1, 7)])
    assert (bar.total_val_batches, bar.total_test_batches, bar.is_disabled) == (2, 0, True)


class Assigns(Toy):
    """Keeps hyper-parameters as programs of 1.0 did, and tells manual_backward its optimizer."""

    def __init__(self, hparams: Namespace, other: int = 3) -> None:
        super().__init__()
        self.hparams = hparams
        self.other = other
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx, optimizer_idx):  # which says nothing there
        assert optimizer_idx == 0
        optimizer = self.optimizers()

        def closure():
            optimizer.zero_grad()
            self.manual_backward(self.loss(batch), optimizer)

        optimizer.step(closure=closure)


def test_what_1_0_wrote_in_a_module_still_works(tmp_path: Path) -> None:
    """`self.hparams = hparams`, also from a checkpoint; `manual_backward(loss, optimizer)`; an
    `optimizer_idx` in a step by hand."""
    model = Assigns(Namespace(lr=0.1, width=8))
    before = weights(model)
    trainer = quiet(tmp_path)
    trainer.fit(model, loader(), loader())
    trainer.save_checkpoint(tmp_path / "old.ckpt")

    again = Assigns.load_from_checkpoint(tmp_path / "old.ckpt")

    assert trainer.global_step == 6 and not torch.equal(before, weights(model))
    assert (again.hparams, again.other) == ({"lr": 0.1, "width": 8}, 3)
    assert torch.equal(weights(again), weights(model))
