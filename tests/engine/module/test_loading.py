"""Loading checkpoints: as strictly as the module says, and from open files."""

from __future__ import annotations

import io
import warnings
import zipfile
from pathlib import Path

import fsspec
import pytest
import torch

from engine import LightningDataModule
from engine.callbacks import ModelCheckpoint
from engine.runtime.errors import CheckpointError
from tests.engine.support.toy import Toy, loader, quiet, weights


class Grown(Toy):
    """A module with a part that the checkpoint does not know, and without another."""

    strict_loading = False

    def __init__(self):
        super().__init__()
        self.more = torch.nn.Linear(1, 1)

    def forward(self, x):
        return self.net(x) + 0 * self.more(x[:, :1])


class Strict(Grown):
    strict_loading = True


class Partial(Grown):
    """Its checkpoints hold a part of its weights alone."""

    def __init__(self):
        super().__init__()
        self.strict_loading = False

    def state_dict(self, *args, **kwargs):
        state = super().state_dict(*args, **kwargs)
        return {name: value for name, value in state.items() if "more" not in name}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A checkpoint of a whole fit."""
    folder = tmp_path_factory.mktemp("fit")
    trainer = quiet(folder)
    trainer.fit(Toy(), loader(), loader(4))
    trainer.save_checkpoint(folder / "a.ckpt")
    trainer.save_checkpoint(folder / "weights.ckpt", weights_only=True)
    return folder / "a.ckpt"


def changed(module):
    """A module with other weights than those of the file."""
    with torch.no_grad():
        for parameter in module.net.parameters():
            parameter.zero_()
    return module


def loads(folder, verb, module, checkpoint):
    trainer = quiet(folder, max_epochs=2)
    if verb == "fit":
        trainer.fit(module, loader(), loader(4), ckpt_path=checkpoint, weights_only=True)
        assert trainer.current_epoch == 2
    else:
        options = {} if verb == "predict" else {"verbose": False}
        getattr(trainer, verb)(module, loader(), ckpt_path=checkpoint, **options)
    return trainer


@pytest.mark.parametrize("verb", ["validate", "test", "predict"])
@pytest.mark.parametrize("name", ["a.ckpt", "weights.ckpt"])
def test_strict_loading_is_obeyed_by_each_verb(tmp_path, path, verb, name, capsys):
    """False: what fits is loaded, one line names the rest; True: that is an error."""
    module = changed(Grown())
    loads(tmp_path, verb, module, path.parent / name)
    expected = torch.load(path)["state_dict"]["net.0.weight"]
    assert torch.equal(module.net[0].weight, expected)
    assert "not loaded strictly: of the weights of Grown 2 are not in" in capsys.readouterr().err
    with pytest.raises(RuntimeError, match=r"more\.weight"):
        loads(tmp_path, verb, Strict(), path.parent / name)


@pytest.mark.filterwarnings("ignore:the checkpoint holds states of callbacks")
def test_strict_loading_of_a_fit(tmp_path):
    """To resume, and for the best and the last checkpoint after it, and in a run within a run."""

    class Looks(Partial):
        def on_train_epoch_end(self):
            best = self.trainer.checkpoint_callback.best_model_path
            if best:
                self.trainer.validate(self, loader(4), ckpt_path=best, verbose=False)

    saves = ModelCheckpoint(tmp_path, monitor="val_loss", save_last=True)
    trainer = quiet(tmp_path, max_epochs=2, enable_checkpointing=True, callbacks=[saves])
    trainer.fit(Looks(), loader(), loader(4))
    assert not any("more" in name for name in torch.load(saves.last_model_path)["state_dict"])
    for name in (None, "best", "last"):
        trainer.test(dataloaders=loader(4), ckpt_path=name, verbose=False)
    module = Partial()
    quiet(tmp_path, max_epochs=3).fit(module, loader(), loader(4), ckpt_path=saves.last_model_path)
    assert module.current_epoch == 3
    strict = Partial()
    strict.strict_loading = True
    with pytest.raises(RuntimeError, match=r"more\.weight"):
        quiet(tmp_path, max_epochs=4).fit(strict, loader(), ckpt_path=saves.last_model_path)


@pytest.mark.parametrize("verb", ["fit", "test"])
def test_weights_of_another_model_are_told_with_their_file(tmp_path, path, verb):
    """Which file it is, and what to do, beside torch's list of names."""
    words = r"(?s)more\.weight.*a\.ckpt' is of another model.*strict_loading = False"
    with pytest.raises(RuntimeError, match=words):
        loads(tmp_path, verb, Strict(), path)


def test_strict_is_an_argument_of_load_from_checkpoint(path):
    """It wins over the module's attribute; what was not loaded is named."""
    with pytest.warns(UserWarning, match=r"Grown.*2 are not in the file \(more.weight, more.bias"):
        Grown.load_from_checkpoint(path)
    with pytest.warns(UserWarning, match="are not in the file"):
        Strict.load_from_checkpoint(path, strict=False)
    for kind, options in ((Strict, {}), (Grown, {"strict": True})):
        with pytest.raises(RuntimeError, match=r"more\.weight.*strict=False"):
            kind.load_from_checkpoint(path, **options)


# ---------------------------------------------------------------------- open files


class Pipe(io.RawIOBase):
    """A file that can only be read on, as what comes over a network."""

    def __init__(self, path):
        self._content = io.BytesIO(Path(path).read_bytes())

    def readable(self):
        return True

    def readinto(self, buffer):
        return self._content.readinto(buffer)


def written(path):
    """A file in memory as torch.save leaves it: at its end."""
    buffer = io.BytesIO()
    buffer.write(Path(path).read_bytes())
    return buffer


def in_archive(path):
    with zipfile.ZipFile(path.parent / "all.zip", "w") as archive:
        archive.write(path, "a.ckpt")
    return zipfile.Path(path.parent / "all.zip", "a.ckpt")


FILES = {
    "file": lambda path: path.open("rb"),
    "buffer": lambda path: io.BytesIO(path.read_bytes()),
    "just written": written,
    "pipe": Pipe,
    "fsspec": lambda path: fsspec.open(f"file://{path}", "rb"),
    "fsspec opened": lambda path: fsspec.filesystem("file").open(str(path), "rb"),
    "in an archive": in_archive,
    "path": lambda path: path,
}


@pytest.mark.parametrize("kind", FILES)
def test_modules_are_loaded_from_open_files(path, kind):
    """Of every kind, and again from the same one where it can be read again."""
    file = FILES[kind](path)
    try:
        for _ in range(1 if kind == "pipe" else 2):
            module = Toy.load_from_checkpoint(file)
            assert torch.equal(weights(module), weights(Toy.load_from_checkpoint(path)))
    finally:
        if hasattr(file, "close"):
            file.close()


@pytest.mark.parametrize("verb", ["fit", "validate", "test", "predict"])
def test_runs_take_open_files(tmp_path, path, verb):
    """As `ckpt_path`: to go on from, and to evaluate."""
    with path.open("rb") as file:
        module = Toy()
        trainer = loads(tmp_path, verb, module, file)
        assert trainer.ckpt_path == repr(str(path))
        if verb != "fit":
            assert torch.equal(weights(module), weights(Toy.load_from_checkpoint(path)))
    buffer = io.BytesIO(path.read_bytes())
    assert loads(tmp_path, verb, Toy(), buffer).ckpt_path == "the BytesIO"


class Data(LightningDataModule):
    def __init__(self, size=4):
        super().__init__()
        self.save_hyperparameters()

    def test_dataloader(self):
        return loader(4)


def test_a_data_module_and_hyper_parameters_from_open_files(tmp_path, path):
    """LightningDataModule.load_from_checkpoint and `hparams_file` take them, too."""
    trainer = quiet(tmp_path)
    trainer.test(Toy(), datamodule=Data(8), verbose=False)
    trainer.save_checkpoint(tmp_path / "d.ckpt")
    file = io.BytesIO((tmp_path / "d.ckpt").read_bytes())
    assert Data.load_from_checkpoint(file).hparams.size == 8
    text = io.BytesIO(b"lr: 0.75")
    module = Toy.load_from_checkpoint(path, hparams_file=text, width=8, dropout=0.0)
    assert module.hparams.lr == 0.75


class Runs:
    def __reduce__(self):
        return (print, ("this must not run",))


@pytest.mark.parametrize("load", [Toy.load_from_checkpoint, Data.load_from_checkpoint])
def test_an_open_file_is_read_without_running_code(tmp_path, capsys, load):
    """As a path is: only `weights_only=False` says otherwise."""
    torch.save({"state_dict": {}, "evil": Runs()}, tmp_path / "evil.ckpt")
    with (tmp_path / "evil.ckpt").open("rb") as file:
        with pytest.raises(CheckpointError, match=r"evil\.ckpt'.*weights_only=False"):
            load(file)
        with pytest.raises(CheckpointError, match="weights_only=False"):
            quiet(tmp_path).test(Toy(), loader(4), ckpt_path=file, verbose=False)
        assert "must not run" not in capsys.readouterr().out
    assert Data.load_from_checkpoint(tmp_path / "evil.ckpt", weights_only=False, size=4)
    assert "must not run" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (io.StringIO("text"), "open as text; open it as 'rb'"),
        (io.BytesIO(b"no checkpoint"), "the BytesIO is no checkpoint"),
        (io.BytesIO(), "the BytesIO is no checkpoint"),
        (io.BytesIO(b"PK\x03\x04 damaged"), "the BytesIO cannot be read; it may be damaged"),
        (17, "a checkpoint is a path or an open file, not the int"),
    ],
)
def test_files_that_hold_no_checkpoint(file, words):
    """The error says which file, and what is wrong with it."""
    with warnings.catch_warnings(), pytest.raises(CheckpointError, match=words):
        warnings.simplefilter("error")
        Toy.load_from_checkpoint(file)
