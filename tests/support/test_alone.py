"""Tests that run alone: they wait for others of a kind, and others for them."""

from __future__ import annotations

import fcntl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import alone

DEADLINE_S = 30.0


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Locks of the test's own, not those of the machine."""
    monkeypatch.setattr(alone, "FOLDER", tmp_path / "locks")
    yield tmp_path / "locks"


def is_waited_for(file: Path) -> bool:
    """Whether somebody has this lock."""
    with open(file, "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_one_alone_waits_for_others_and_is_not_overtaken(folder: Path) -> None:
    """It begins when those that run have ended, and before those that come after it."""
    order: list[str] = []

    def run_alone() -> None:
        with alone.alone():
            order.append("alone")

    def run_beside() -> None:
        with alone.beside_others():
            order.append("late")

    first, late = threading.Thread(target=run_alone), threading.Thread(target=run_beside)
    with alone.beside_others(), alone.beside_others():
        first.start()
        while not is_waited_for(folder / "queue"):
            assert first.is_alive()
        late.start()
        late.join(0.2)  # enough for one that does not wait
        assert order == []
    for thread in (first, late):
        thread.join(DEADLINE_S)
        assert not thread.is_alive()
    assert order == ["alone", "late"]
