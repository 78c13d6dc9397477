"""Fixtures of the launcher's tests."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from launcher.clusters.dialback import Reception
from tests.launcher.support.runs import Launcher, launcher_in

# The same examples in every run, and no time limit for one of them on a busy machine.
hypothesis.settings.register_profile("steady", deadline=None, derandomize=True)
hypothesis.settings.load_profile("steady")

FAKES = Path(__file__).parents[1] / "fakes"


@pytest.fixture
def lease_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for GPU leases that no other run on this machine uses."""
    folder = tmp_path / "leases"
    monkeypatch.setenv("PLAUNCH_LEASE_DIR", str(folder))
    return folder


@pytest.fixture
def driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lease_dir: Path
) -> Iterator[Callable[..., None]]:
    """Give this machine an NVIDIA driver with these GPUs; processes started from here see them."""
    file = tmp_path / "driver.json"
    monkeypatch.setenv("PLAUNCH_GPU_DRIVER", str(file))
    monkeypatch.setenv("PYTHONPATH", str(FAKES))
    monkeypatch.syspath_prepend(str(FAKES))
    monkeypatch.delitem(sys.modules, "pynvml", raising=False)

    def install(*gpus: dict[str, Any], **more: Any) -> None:
        file.write_text(json.dumps({"gpus": gpus, **more}))

    yield install
    sys.modules.pop("pynvml", None)


@pytest.fixture
def plaunch(tmp_path: Path) -> Iterator[Launcher]:
    """The ``plaunch`` command in an empty folder; nothing of its runs may be left at the end."""
    with launcher_in(tmp_path) as launcher:
        yield launcher


@pytest.fixture
def said() -> list[str]:
    """What the reception has said to people."""
    return []


@pytest.fixture
def reception(said: list[str]) -> Iterator[Reception]:
    with contextlib.closing(Reception(["127.0.0.1"], said.append)) as opened:
        yield opened
