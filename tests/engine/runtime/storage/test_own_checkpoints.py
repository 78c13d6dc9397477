"""Checkpoints that hold more than plain data: read in full where they are one's own or trusted."""

from __future__ import annotations

import os
import pickle
import shutil
import sys
import zipfile
import zlib
from pathlib import Path
from types import ModuleType

import pytest
import torch

from engine import CheckpointError, LightningDataModule
from engine.runtime.storage import checkpoint as files
from tests.engine.support.toy import Toy, loader, quiet

pytestmark = pytest.mark.filterwarnings(
    "ignore:there is a validation_step", "ignore:hyper-parameter .scale. is a"
)


class Scale:
    """An object as programs hand it to `__init__`: no data, and not to be made from data."""

    def __init__(self, by):
        self.by = torch.tensor(by)

    def __call__(self, x):
        return x * self.by


class Scaled(Toy):
    def __init__(self, options, scale):
        super().__init__()
        self.save_hyperparameters()
        self.scale, self.width = scale, options["width"]

    def forward(self, x):
        return super().forward(self.scale(x))


def test_own_files_may_hold_objects(tmp_path, monkeypatch):
    """What this process wrote it reads, whatever a module put in and wherever it lies; another
    process needs the user's word."""

    class Keeps(Toy):
        def on_save_checkpoint(self, checkpoint):
            checkpoint["mine"] = Path("x")

        def on_load_checkpoint(self, checkpoint):
            self.mine = checkpoint["mine"]

    trainer = quiet(tmp_path)
    trainer.fit(Keeps(), loader())
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    assert Keeps.load_from_checkpoint(tmp_path / "a.ckpt").mine == Path("x")
    quiet(tmp_path, max_epochs=2).fit(Keeps(), loader(), ckpt_path=tmp_path / "a.ckpt")
    shutil.copy(tmp_path / "a.ckpt", tmp_path / "b.ckpt")
    assert Keeps.load_from_checkpoint(tmp_path / "b.ckpt").mine == Path("x")
    monkeypatch.setattr(files, "_own", {})  # as in another process
    with pytest.raises(CheckpointError, match="TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1"):
        Keeps.load_from_checkpoint(tmp_path / "b.ckpt")
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    assert Keeps.load_from_checkpoint(tmp_path / "b.ckpt").mine == Path("x")


def test_objects_among_the_hyper_parameters(tmp_path, monkeypatch):
    """They come back in this process, and elsewhere where the file is trusted; the file itself
    stays one that is read without running code.
    """
    trainer = quiet(tmp_path)
    trainer.fit(Scaled({"width": 3}, Scale(2.0)), loader())
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    assert "scale" not in torch.load(tmp_path / "a.ckpt", weights_only=True)["hyper_parameters"]
    for words in ({}, {"weights_only": False}, {"scale": Scale(2.0)}):
        loaded = Scaled.load_from_checkpoint(tmp_path / "a.ckpt", **words)
        assert (loaded.scale.by, loaded.width, loaded.hparams.scale.by) == (2.0, 3, 2.0)
        monkeypatch.setattr(files, "_own", {})  # as in another process
    with (
        pytest.warns(UserWarning, match="objects were left out: scale"),
        pytest.raises(TypeError, match=r"'scale'.*Give what is missing"),
    ):
        Scaled.load_from_checkpoint(tmp_path / "a.ckpt")


RAN: list[str] = []


def note_run(text):
    RAN.append(text)


class Runs:
    def __reduce__(self):
        return note_run, ("code of somebody else",)


def forged(path: Path) -> bytes:
    """A file as at `path`, of the same size and with other code in its pickle."""
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as parts:
        name = next(one for one in parts.namelist() if one.endswith("data.pkl"))
        own, crc = parts.read(name), parts.getinfo(name).CRC
    evil = pickle.dumps({"state_dict": {}, "mine": Runs()}, 2)
    evil += bytes(len(own) - len(evil))  # what comes after the end isn't read
    crcs = [number.to_bytes(4, "little") for number in (crc, zlib.crc32(evil))]
    return whole.replace(own, evil).replace(*crcs)


def test_a_forged_file_is_none_of_ours(tmp_path):
    """Another file in the place of ours, with its inode, size and time: nothing of it is run."""
    path = tmp_path / "a.ckpt"
    files.note_own(files.write({"state_dict": {}, "mine": Path("x"), "room": "x" * 1000}, path))
    assert files.read(path)["mine"] == Path("x")
    before, made = os.stat(path), forged(path)
    path.write_bytes(made)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = os.stat(path)
    kept = ("st_ino", "st_size", "st_mtime_ns")
    assert [getattr(before, one) for one in kept] == [getattr(after, one) for one in kept]
    with pytest.raises(CheckpointError, match="holds more than plain data"):
        files.read(path)
    assert RAN == []
    files.read(path, weights_only=False)
    assert RAN == ["code of somebody else"], "the forged file does run code where it is trusted"


def test_an_object_that_cannot_be_kept_is_named(tmp_path):
    """Saving goes on, and says what to give again."""
    trainer = quiet(tmp_path)
    trainer.fit(Scaled({"width": 3}, lambda x: x), loader())
    with pytest.warns(UserWarning, match=r"'scale'.*not kept.*path, scale=\.\.\."):
        trainer.save_checkpoint(tmp_path / "a.ckpt")


def test_a_data_modules_objects(tmp_path):
    """Those of data modules come back, too."""

    class Data(LightningDataModule):
        def __init__(self, scale):
            super().__init__()
            self.save_hyperparameters()

        def train_dataloader(self):
            return loader()

    trainer = quiet(tmp_path)
    trainer.fit(Toy(), datamodule=Data(Scale(3.0)))
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    assert Data.load_from_checkpoint(tmp_path / "a.ckpt").hparams.scale.by == 3.0


def test_a_dict_saved_as_the_hyper_parameters(tmp_path):
    """`save_hyperparameters(hparams)` of a dict: `__init__` gets one whose items are attributes."""

    class Whole(Toy):
        def __init__(self, hparams):
            super().__init__()
            self.save_hyperparameters(hparams)
            self.rate = hparams["rate"]

    trainer = quiet(tmp_path)
    trainer.fit(Whole({"rate": 0.5, "lr": 0.1}), loader())
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    loaded = Whole.load_from_checkpoint(tmp_path / "a.ckpt", rate=0.25)
    assert (loaded.rate, loaded.hparams.rate, loaded.hparams.lr) == (0.25, 0.25, 0.1)


class Config(dict):
    """As omegaconf's: a mapping whose values may refer to others, or be missing."""

    __module__ = "omegaconf.dictconfig"
    __getattr__ = dict.__getitem__


class OmegaConf:
    @staticmethod
    def create(value):
        return Config(value)

    @staticmethod
    def is_missing(config, name):
        return config[name] == "???"

    @staticmethod
    def to_container(config, resolve):
        if resolve and "${gone}" in config.values():
            raise KeyError("gone")
        return dict(config)


@pytest.mark.parametrize("whole", [True, False])
def test_configurations_come_back_as_such(tmp_path, monkeypatch, whole):
    """A configuration of omegaconf's is kept as data and is one again, as a whole or an item."""
    module = ModuleType("omegaconf")
    module.OmegaConf = OmegaConf
    monkeypatch.setitem(sys.modules, "omegaconf", module)

    class Configured(Toy):
        def __init__(self, cfg):
            super().__init__()
            self.save_hyperparameters(*[cfg] if whole else [])
            self.rate, self.cfg = cfg.rate, cfg

    trainer = quiet(tmp_path)
    trainer.fit(Configured(Config(rate=0.5, more="???", of="${gone}")), loader())
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    loaded = Configured.load_from_checkpoint(tmp_path / "a.ckpt")
    assert type(loaded.cfg) is Config
    expected = {"rate": 0.5, "more": "???", "of": "${gone}"}
    assert expected.items() <= dict(loaded.cfg).items()
