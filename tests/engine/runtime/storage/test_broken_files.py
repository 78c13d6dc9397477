"""Files that are no checkpoints, and checkpoints that cannot become files."""

from __future__ import annotations

import os
import resource

import pytest
import torch

from engine import CheckpointError
from engine.runtime.storage import checkpoint as files
from tests.engine.support.toy import Toy, loader, quiet


def test_a_missing_or_broken_file_is_named(tmp_path):
    """C1: no traceback of pickle, no silent new beginning, and what torch never wrote is not to be
    trusted: each is named with what is wrong, by fit and load_from_checkpoint alike."""
    whole = {"state_dict": Toy().state_dict(), "hyper_parameters": {}}
    files.write(whole, tmp_path / "whole.ckpt")
    written = (tmp_path / "whole.ckpt").read_bytes()
    (tmp_path / "half.ckpt").write_bytes(written[: len(written) // 2])
    (tmp_path / "text.ckpt").write_text("hello")
    (tmp_path / "page.ckpt").write_text("<html>not found</html>")
    (tmp_path / "empty.ckpt").touch()
    (tmp_path / "odd.ckpt").write_bytes(b"\x80\x02abc")
    (tmp_path / "folder.ckpt").mkdir()
    torch.save(Toy().state_dict(), tmp_path / "bare.ckpt")
    torch.save({"other": 1}, tmp_path / "other.ckpt")
    for name, said in (
        ("none", "there is no"),
        ("folder", "give a file in it"),
        ("half", "may be damaged"),
        ("odd", "may be damaged"),
        ("text", "is no checkpoint"),
        ("page", "is no checkpoint"),
        ("empty", "is no checkpoint"),
        ("bare", "it is a bare state_dict"),
        ("other", "no weights"),
    ):
        path = tmp_path / f"{name}.ckpt"
        with pytest.raises(CheckpointError, match=said) as failure:
            quiet(tmp_path).fit(Toy(), loader(), ckpt_path=path)
        assert "weights_only=False" not in str(failure.value)
        with pytest.raises(CheckpointError, match=f"{name}.ckpt.*{said}|{said}.*{name}.ckpt"):
            Toy.load_from_checkpoint(path)


def test_a_full_disk_is_named_on_all_ranks(tmp_path):
    """What the system said comes with the file, not torch's sentence about positions in it; no
    other rank waits for a checkpoint that could not be written, whatever the reason."""
    trainer = quiet(tmp_path)
    trainer.fit(Toy(width=4000), loader(), loader())
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20000, before[1]))
    try:
        with pytest.raises(OSError, match=r"File too large: .*big\.ckpt"):
            trainer.save_checkpoint(tmp_path / "big.ckpt")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert os.listdir(tmp_path) == []


UNSAVABLE = """
import json, sys
from tests.engine.support.toy import Toy, loader, quiet

class Odd(Toy):
    def on_save_checkpoint(self, checkpoint):
        checkpoint["odd"] = lambda: 1

trainer = quiet(".")
trainer.fit(Odd(), loader(), loader())
try:
    trainer.save_checkpoint("odd.ckpt")
except Exception as error:
    json.dump(str(error), open(sys.argv[1], "w"))
"""


def test_what_cannot_be_written_is_an_error_of_all_ranks(run_ranks):
    """A rank never waits for one that has failed to write."""
    assert all("pickle" in said for said in run_ranks(UNSAVABLE))
