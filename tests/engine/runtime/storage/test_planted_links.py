"""Folders that others may write to: links planted there are not written through."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.callbacks import PredictionWriter
from engine.loggers import CSVLogger
from engine.loggers.folders.csv import MetricsFile
from engine.runtime.storage import files
from engine.runtime.storage.hparams_file import write_hparams
from tests.engine.support.toy import Toy, loader, quiet


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    """A file of ours that is not to be written over."""
    path = tmp_path / "precious"
    path.write_text("precious\n")
    return path


@pytest.fixture
def no_umask() -> Iterator[None]:
    """As some set it, so that their group may write."""
    before = os.umask(0)
    yield
    os.umask(before)


def test_links_at_names_that_can_be_foretold(tmp_path: Path, precious: Path) -> None:
    """Where a partial file was once, where the file itself comes, and where a rank's part does."""
    folder = tmp_path / "shared"
    folder.mkdir()
    pid = os.getpid()
    for name in (f".hparams.yaml.{pid}", "hparams.yaml", f".metrics.csv.{pid}", ".p.jsonl.rank-0"):
        (folder / name).symlink_to(precious)
    (folder / ".p.jsonl.whole").symlink_to(precious)
    write_hparams(folder, {"a": 1})
    table = MetricsFile(folder / "metrics.csv")
    for name in ("a", "b"):
        table.add({"step": 1, name: 1.0})
        table.flush()
    table.close()
    trainer = quiet(tmp_path, callbacks=[PredictionWriter(folder / "p.jsonl")])
    trainer.predict(Toy(), loader())

    assert precious.read_text() == "precious\n"
    assert (folder / "hparams.yaml").read_text() == "a: 1\n"
    assert not (folder / "hparams.yaml").is_symlink()
    assert "1.0" in (folder / "metrics.csv").read_text()
    assert (folder / "p.jsonl").read_text()


def test_a_table_that_is_a_link_is_refused(tmp_path: Path, precious: Path) -> None:
    """What is appended to can't be put in the place of another: it is named."""
    (tmp_path / "metrics.csv").symlink_to(precious)
    table = MetricsFile(tmp_path / "metrics.csv")
    table.add({"step": 1, "a": 1.0})
    with pytest.raises(OSError, match=r"it is a link.*metrics\.csv"):
        table.flush()

    assert precious.read_text() == "precious\n"


def test_a_file_that_can_t_be_written_leaves_nothing(tmp_path: Path) -> None:
    """The old one stays as it was."""
    (tmp_path / "a").write_text("old")
    with pytest.raises(KeyError), files.replacing(tmp_path / "a") as file:
        file.write(b"new")
        raise KeyError

    assert (os.listdir(tmp_path), (tmp_path / "a").read_text()) == (["a"], "old")


@pytest.mark.usefixtures("no_umask")
def test_nothing_is_made_that_all_may_write_to(tmp_path: Path) -> None:
    """Whatever a run makes under a umask of 000: logs, checkpoints, profiles, and their folders."""
    root = tmp_path / "deep" / "root"
    trainer = quiet(
        root,
        max_epochs=1,
        logger=CSVLogger(root),
        enable_checkpointing=True,
        profiler="simple",
    )
    trainer.fit(Toy(), loader(), loader())
    trainer.save_checkpoint(root / "more" / "a.ckpt")
    made = [tmp_path / "deep", *(tmp_path / "deep").rglob("*")]

    assert len(made) > 6
    assert [str(one) for one in made if one.stat().st_mode & stat.S_IWOTH] == []
    assert (root / "more" / "a.ckpt").stat().st_mode & 0o777 == 0o664
