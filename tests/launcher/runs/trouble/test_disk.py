"""When our own output can't be written: a full disk, a reader that has gone."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.launcher.support.runs import PLAUNCH, Launcher

TALKS = """
import sys, time
for number in range(4000):
    print("x" * 200, number)
print("done", file=sys.stderr, flush=True)
sys.exit(int(sys.argv[1]))
"""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of 300 kB."""
    folder = tmp_path / "small"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=300k", "none", str(folder)]
    if os.getuid() != 0 or subprocess.run(words, capture_output=True).returncode:
        pytest.skip("needs root and the right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("code", [0, 6])
def test_a_full_disk_does_not_end_the_run(plaunch: Launcher, small_disk: Path, code: int) -> None:
    """Every line still reaches the terminal, one line tells of the disk, the code is right."""
    plaunch.write("talk.py", TALKS)
    done = plaunch(
        "--start", "cold", "--run-dir", str(small_disk / "run"), "--result", "result.json",
        "talk.py", str(code),
    )  # fmt: skip
    assert done.code == code
    assert done.out.count("\n") == 4000
    assert "done" in done.err
    lost = f"can't write {small_disk}/run/result.json: No space left on device"
    assert (small_disk / "run" / "result.json").exists() == (lost not in done.err)
    assert done.err.count("No space left on device") == 1 + (lost in done.err)
    assert str(small_disk / "run") in done.err
    assert (plaunch.folder / "result.json").exists()
    status = plaunch("status", "--json", str(small_disk / "run"), command=(PLAUNCH,))
    assert code or '"state": "succeeded"' in status.out
    assert not list((small_disk / "run").glob(".result.json*"))


def test_a_disk_that_is_full_from_the_start(plaunch: Launcher, small_disk: Path) -> None:
    """No run folder can be made: one line says what to do."""
    plaunch.write("talk.py", TALKS)
    (small_disk / "run").mkdir()
    with (small_disk / "filler").open("wb", buffering=0) as file, pytest.raises(OSError):
        while file.write(b"x" * 4096):
            pass
    done = plaunch("--run-dir", str(small_disk / "run"), "talk.py", "0")
    assert done.code == 2
    assert done.err.count("\n") == 1, done.err
    assert "No space left on device" in done.err
    assert "--run-dir" in done.err


@pytest.mark.parametrize(("reader", "code"), [("head -1", 0), ("true", 7)])
def test_a_reader_that_has_gone(plaunch: Launcher, reader: str, code: int) -> None:
    """``plaunch ... | head -1``: the run goes on to its own exit code; nothing complains."""
    plaunch.write("talk.py", TALKS)
    script = f'"$0" --start cold talk.py {code} | {reader}; exit ${{PIPESTATUS[0]}}'
    done = plaunch(script, PLAUNCH, command=("bash", "-c"))
    assert done.code == code
    assert "BrokenPipe" not in done.err
    assert "done" in done.err  # what goes to standard error is not held back
    log = next(plaunch.folder.glob("plaunch_runs/*/logs/rank0.log"))
    assert log.read_text().count("\n") == 4001
    assert ("failed first" in done.err) == (code != 0)
