"""A checkpoint's metric is that of its very state; last.ckpt is the newest; manual steps count."""

from __future__ import annotations

import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import torch

from engine.callbacks import Callback, ModelCheckpoint
from tests.engine.support.toy import Toy, loader, quiet


class Manual(Toy):
    """Steps its optimizer itself."""

    def __init__(self):
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        optimizer = self.optimizers()
        optimizer.zero_grad()
        loss = self.loss(batch)
        self.manual_backward(loss)
        optimizer.step()
        self.log("train_loss", loss)


@pytest.mark.parametrize("kind", [Toy, Manual])
@pytest.mark.parametrize(
    "asks", [{"train_time_interval": timedelta(microseconds=1)}, {"every_n_train_steps": 3}]
)
def test_a_checkpoint_is_judged_by_its_own_state(tmp_path, kind, asks):
    """By time and by steps, with automatic and manual optimisation: the weights in each file give
    the metric in its name, and last.ckpt is never older than another file."""
    newest = []

    class Watch(Callback):
        def on_validation_end(self, trainer, pl_module):
            newest.append(trainer.global_step)

    keeps = ModelCheckpoint(
        tmp_path,
        filename="{step}-{val_loss:.6f}",
        monitor="val_loss",
        save_top_k=-1,
        save_last=True,
        auto_insert_metric_name=False,
        **asks,
    )
    trainer = quiet(
        tmp_path,
        max_epochs=2,
        val_check_interval=2,
        enable_checkpointing=True,
        callbacks=[keeps, Watch()],
    )
    trainer.fit(kind(), loader(), loader())
    assert trainer.global_step == 12 and newest == [2, 4, 6, 8, 10, 12]
    saved = {path: torch.load(path) for path in tmp_path.glob("*-*.ckpt")}
    assert len(saved) >= 3
    for path, content in saved.items():
        model = kind()
        model.load_state_dict(content["state_dict"])
        with torch.no_grad():
            value = torch.stack([model.loss(batch) for batch in loader()]).mean()
        step, name = path.stem.split("-")
        assert content["global_step"] == int(step)
        assert float(value) == pytest.approx(float(name), abs=2e-6)
    last = torch.load(tmp_path / "last.ckpt")["global_step"]
    assert last == max(content["global_step"] for content in saved.values()) == 12


def steps_of(folder):
    return {path.name: torch.load(path)["global_step"] for path in folder.glob("*.ckpt")}


@pytest.mark.parametrize(
    "asks", [{"train_time_interval": timedelta(microseconds=1)}, {"every_n_train_steps": 3}]
)
def test_a_value_that_is_logged_now_and_then_is_of_its_step(tmp_path, asks):
    """A step is not judged by what an earlier one has logged: the next that logs is saved."""

    class NowAndThen(Toy):
        def training_step(self, batch, batch_idx):
            if batch_idx % 4 == 0:
                self.log("step_before", float(self.global_step))
            return self.loss(batch)

    name = "{step}-{step_before:.0f}"
    keeps = ModelCheckpoint(
        tmp_path, name, "step_before", save_top_k=-1, auto_insert_metric_name=False, **asks
    )
    quiet(tmp_path, max_steps=24, enable_checkpointing=True, callbacks=keeps).fit(
        NowAndThen(), loader(96), loader(4)
    )
    saved = [path.stem.split("-") for path in tmp_path.glob("*.ckpt")]
    expected = [1, 5, 9, 13, 17, 21] if "train_time_interval" in asks else [9, 21]
    assert sorted(int(step) for step, _ in saved) == expected
    assert all(int(step) == int(before) + 1 for step, before in saved)


@pytest.mark.parametrize("how", ["use_pl_optimizer=False", ".optimizer"])
def test_steps_of_the_optimizer_itself_count(tmp_path, how):
    """A module that steps by hand, and not through our wrapper, has steps, checkpoints and an end,
    too; what it does after the fit is no step of one."""

    class Raw(Manual):
        def optimizers(self, use_pl_optimizer=True):
            if how == ".optimizer":
                return super().optimizers().optimizer
            return super().optimizers(use_pl_optimizer=False)

    model = Raw()
    keeps = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=2, save_top_k=-1)
    trainer = quiet(tmp_path, max_epochs=5, max_steps=8, enable_checkpointing=True, callbacks=keeps)
    trainer.fit(model, loader(), loader(4))
    assert type(model.optimizers(use_pl_optimizer=False)) is torch.optim.Adam
    assert trainer.global_step == 8
    assert steps_of(tmp_path) == {f"step={n}.ckpt": n for n in (2, 4, 6, 8)}
    trainer.optimizers[0].step()
    assert trainer.global_step == 8


def test_two_callbacks_of_one_folder_share_the_newest_file(tmp_path):
    """last.ckpt is the newest of both; one with weights only has a file of its own, since nothing
    can be resumed from it. `ckpt_path="last"` is the newest, whose ever it is."""
    kinds = [
        {"filename": "a-{step}", "every_n_train_steps": 5},
        {"filename": "b-{step}", "monitor": "val_loss"},
        {"filename": "c-{step}", "every_n_train_steps": 6, "save_weights_only": True},
    ]
    keeps = [ModelCheckpoint(tmp_path, save_last=True, **kind) for kind in kinds]
    trainer = quiet(tmp_path, max_epochs=2, enable_checkpointing=True, callbacks=keeps)
    trainer.fit(Toy(), loader(), loader())
    assert steps_of(tmp_path)["last.ckpt"] == 12
    assert keeps[0].last_model_path == keeps[1].last_model_path == str(tmp_path / "last.ckpt")
    assert keeps[2].last_model_path == str(tmp_path / "last-v1.ckpt")
    elsewhere = ModelCheckpoint(tmp_path / "other", monitor="val_loss")
    again = quiet(tmp_path, max_epochs=3, enable_checkpointing=True, callbacks=[elsewhere, *keeps])
    again.fit(Toy(), loader(), loader(), ckpt_path="last")
    assert again.ckpt_path == str(tmp_path / "last.ckpt")
    assert steps_of(tmp_path)["last.ckpt"] == 18


def test_a_resume_with_other_settings_goes_on_with_the_newest_file(tmp_path):
    """last.ckpt stays the newest, and is not the one that the second run went on from."""

    def fit(epochs, every_n_train_steps, ckpt_path=None):
        keeps = ModelCheckpoint(tmp_path, every_n_train_steps=every_n_train_steps, save_last=True)
        trainer = quiet(tmp_path, max_epochs=epochs, enable_checkpointing=True, callbacks=keeps)
        trainer.fit(Toy(), loader(), loader(4), ckpt_path=ckpt_path)

    fit(1, 2)
    with pytest.warns(UserWarning, match="states of callbacks that are not here"):
        fit(3, 3, tmp_path / "last.ckpt")
    found = steps_of(tmp_path)
    assert found.pop("last.ckpt") == 18 == max(found.values())
    assert not [name for name in found if name.startswith("last")]


DIES = """
import os, signal, sys
from engine.callbacks import ModelCheckpoint
from tests.engine.support.toy import Toy, loader, quiet

class Deadly:
    def __reduce__(self):
        os.kill(os.getpid(), signal.SIGKILL)

class Dies(Toy):
    saved = 0
    def on_save_checkpoint(self, checkpoint):
        self.saved += 1
        if self.saved == int(sys.argv[2]):
            checkpoint["deadly"] = Deadly()

keeps = ModelCheckpoint(sys.argv[1], every_n_train_steps=1, save_last=True)
quiet(sys.argv[1], enable_checkpointing=True, callbacks=keeps).fit(Dies(), loader(), loader(4))
"""


@pytest.mark.parametrize(("save", "newest"), [(7, 3), (8, 4)])
def test_killed_while_it_saves(tmp_path, save, newest):
    """kill -9 in the middle of writing last.ckpt, or the file beside it: last.ckpt is whole, the
    newest there is, and a run that goes on from it clears away the part of a file."""
    command = [sys.executable, "-c", DIES, str(tmp_path), str(save)]
    root = Path(__file__).parents[4]
    killed = subprocess.run(command, cwd=root, capture_output=True, timeout=90, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    found = steps_of(tmp_path)
    assert found["last.ckpt"] == newest == max(found.values())
    assert len(list(tmp_path.glob(".*.part"))) == 1
    keeps = ModelCheckpoint(tmp_path, every_n_train_steps=1, save_last=True)
    trainer = quiet(tmp_path, enable_checkpointing=True, callbacks=keeps)
    trainer.fit(Toy(), loader(), loader(4), ckpt_path="last")
    assert not list(tmp_path.glob(".*.part"))
    assert steps_of(tmp_path)["last.ckpt"] == 6
