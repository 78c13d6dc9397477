"""``launcher.report``: what can be a value, and errors that name the place."""

from __future__ import annotations

import json
import math
import operator
import os
import pickle
import socket
from pathlib import Path
from typing import Any

import pytest

from launcher.agent.ranks.rank import run_function
from launcher.core.protocol.checks import from_rank
from launcher.report import ReportError, report


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> socket.socket:
    """The agent's end of a rank's line."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "agent.sock"))
    listener.listen()
    listener.settimeout(30)
    monkeypatch.setenv("PLAUNCH_SOCKET", str(tmp_path / "agent.sock"))
    return listener


def heard(agent: socket.socket) -> Any:
    with agent, agent.accept()[0] as line:
        data = b""
        while part := line.recv(65536):
            data += part
    assert int.from_bytes(data[:4], "big") == len(data) - 4
    return json.loads(data[4:])


def test_what_is_sent(agent: socket.socket) -> None:
    """JSON data as it is, tuples as lists, NaN and infinities as null."""
    report({"a": [1, (2.5, None)], "b": {"c": True}, "d": [math.nan, -math.inf], "é": "\udcff"})
    assert heard(agent) == {
        "type": "report",
        "by": "user",
        "value": {"a": [1, [2.5, None]], "b": {"c": True}, "d": [None, None], "é": "\udcff"},
        "not_finite": {},
    }


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def test_as_deep_as_the_launcher_takes_it(agent: socket.socket) -> None:
    """What is reported passes the agent's check, up to the deepest."""
    report(nested(100))
    assert from_rank(heard(agent))["value"] == nested(100)


def test_a_function_that_returns_too_much() -> None:
    """What is too large for the launcher is the function's error, and not silently lost."""
    fd = os.memfd_create("function")
    os.write(fd, pickle.dumps((operator.mul, ("x", 17 << 20), {})))
    os.lseek(fd, 0, os.SEEK_SET)
    with pytest.raises(ValueError, match="the function returned 17 MiB as JSON, and 16 MiB is"):
        run_function(fd)


@pytest.mark.parametrize(
    ("value", "place", "what"),
    [
        (object(), "value is", "a object"),
        ({"a": [1, {2, 3}]}, "value['a'][1]", "a set"),
        ({"a": {1: 2}}, "value['a'] has the key 1", "must be text"),
        ([b"x"], "value[0]", "a bytes"),
        ({"loss": 1j}, "value['loss']", "a complex"),
        ("x" * (17 << 20), "17 MiB", "16 MiB at most"),
        (nested(101), "value is nested", "more than 100 deep"),
        ({"a": [0] * 100_000}, "more than 100000 values", "save it to a file"),
        ({"a": 10**1000}, "value['a'] is a number", "of more than 1000 digits"),
    ],
)
def test_what_is_refused(
    value: Any, place: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the place in the value, also without a launcher."""
    monkeypatch.delenv("PLAUNCH_SOCKET", raising=False)
    with pytest.raises(ReportError) as caught:
        report(value)
    assert place in str(caught.value)
    assert what in str(caught.value)


def test_a_tensor_is_refused_with_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is converted silently; the error says how to do it."""
    torch = pytest.importorskip("torch")
    monkeypatch.delenv("PLAUNCH_SOCKET", raising=False)
    with pytest.raises(ReportError, match=r"value\['loss'\] is a Tensor.*\.item\(\)"):
        report({"loss": torch.ones(1)})


def test_without_a_launcher_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same script runs under plain python."""
    monkeypatch.delenv("PLAUNCH_SOCKET", raising=False)
    assert report({"fine": 1}) is None
