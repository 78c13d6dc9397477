"""A checkpoint's metric is that of its very state; last.ckpt is the newest; manual steps count."""

from __future__ import annotations

from datetime import timedelta

import pytest
import torch

from engine.callbacks import Callback, ModelCheckpoint
from tests.engine.toy import Toy, loader, quiet


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
