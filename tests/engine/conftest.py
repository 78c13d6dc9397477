"""Fixtures of the engine's tests."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.runtime.coordination import signals
from tests.engine.support.ranks import free_port as find_port
from tests.engine.support.ranks import ranks_in


@pytest.fixture(autouse=True)
def _signals_as_before() -> Iterator[None]:
    """A fit in the tests' own process leaves no function for signals behind."""
    before = {number: signal.getsignal(number) for number in signals.SIGNALS}
    yield
    signals._taken, signals.preemption.signal = (), None
    signals.set_all(before)


@pytest.fixture(autouse=True)
def _seed_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """A seed that a test sets is not that of the next one's ranks."""
    for name in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS"):
        monkeypatch.setenv(name, "")  # so that it is taken back afterwards
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """A function that finds a port on which nobody listens."""
    return find_port


@pytest.fixture
def run_ranks(tmp_path: Path) -> Iterator[Callable[..., list[Any]]]:
    """Run a program on so many ranks, in the test's folder; see `ranks_in`."""
    with ranks_in(tmp_path) as run:
        yield run
