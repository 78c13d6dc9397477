"""Checkpoints that a logger hands to its service."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.loggers import WandbLogger
from tests.engine.support.foreign_fakes import Noted, install
from tests.engine.support.toy import Toy, loader, quiet

pytestmark = pytest.mark.filterwarnings("ignore:there is a validation_step")


class Artifact:
    """What wandb uploads: files with a name and words about them."""

    def __init__(self, name, type, metadata):
        self.name, self.kind, self.metadata, self.files = name, type, metadata, {}

    def add_file(self, path, name):
        self.files[name] = Path(path).read_bytes()


@pytest.fixture
def wandb(monkeypatch):
    noted = Noted(id="run-1", project="p")
    install(monkeypatch, "wandb", run=None, init=lambda **_: noted, Artifact=Artifact)
    return noted


@pytest.mark.parametrize(
    ("log_model", "sent"),
    [
        (True, ["epoch=2-step=18.ckpt"]),
        ("all", [f"epoch={n}-step={6 * n + 6}.ckpt" for n in range(3)]),
    ],
)
def test_wandb_gets_checkpoints(wandb, tmp_path, log_model, sent):
    """S226: those that are kept at the end, or each one that is saved; each once, whole."""
    logger = WandbLogger(save_dir=tmp_path, log_model=log_model)
    options = {"logger": logger, "enable_checkpointing": True, "max_epochs": 3}
    trainer = quiet(tmp_path, **options)
    trainer.fit(Toy(), loader())
    trainer.test(trainer.lightning_module, loader())
    artifacts = [args[0] for args, _ in wandb.of("log_artifact")]
    assert [artifact.metadata["original_filename"] for artifact in artifacts] == sent
    assert all((one.name, one.kind) == ("model-run-1", "model") for one in artifacts)
    newest = Path(trainer.checkpoint_callback.best_model_path).read_bytes()
    assert artifacts[-1].files == {"model.ckpt": newest}
    assert wandb.of("log_artifact")[-1][1] == {"aliases": ["latest", "best"]}


def test_wandb_gets_none_unless_asked(wandb, tmp_path):
    """By default, and where a fit fails, no checkpoint leaves the machine."""

    class Breaks(Toy):
        def on_train_end(self):
            raise ZeroDivisionError

    options = {"enable_checkpointing": True, "max_epochs": 1}
    quiet(tmp_path, logger=WandbLogger(save_dir=tmp_path), **options).fit(Toy(), loader())
    logger = WandbLogger(save_dir=tmp_path, log_model=True)
    with pytest.raises(ZeroDivisionError):
        quiet(tmp_path, logger=logger, **options).fit(Breaks(), loader())
    assert wandb.of("log_artifact") == []
