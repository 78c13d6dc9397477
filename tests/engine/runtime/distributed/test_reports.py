"""What a rank tells its agent over PLAUNCH_SOCKET: frames of JSON, and never a failure."""

from __future__ import annotations

import json
import math
import os
import socket
import struct
import threading

import pytest

from engine.runtime.distributed import agent_client as reports
from engine.trainer import lifecycle
from tests.engine.support.toy import Toy, loader, quiet

DEADLINE_S = 10


class Agent:
    """The other end of the line: keeps what comes in."""

    def __init__(self, path):
        self.path, self.messages = str(path), []
        self.server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.server.bind(self.path)
        self.server.listen()
        self.thread = threading.Thread(target=self.listen, daemon=True)
        self.thread.start()

    def listen(self):
        connection, _ = self.server.accept()
        with connection, connection.makefile("rb") as stream:
            while header := stream.read(4):
                body = stream.read(struct.unpack(">I", header)[0])
                self.messages.append(json.loads(body))

    def close(self):
        reports.line().close()
        self.thread.join(DEADLINE_S)
        self.server.close()
        assert not self.thread.is_alive()
        return self.messages


@pytest.fixture
def agent(tmp_path, monkeypatch):
    monkeypatch.setattr(reports, "_line", None)
    monkeypatch.setattr(lifecycle, "_reported", {})
    path = f"/tmp/engine-{os.getpid()}.sock"  # a socket's path must be short
    monkeypatch.setenv("PLAUNCH_SOCKET", path)
    agent = Agent(path)
    yield agent
    agent.server.close()
    os.unlink(path)


def test_a_run_reports_its_metrics_by_itself(agent, tmp_path):
    """Flat by name, merged over fit and test, with the checkpoints; progress at checkpoints."""

    class Odd(Toy):
        def validation_step(self, batch, batch_idx):
            self.log("val_loss", math.nan)

    trainer = quiet(tmp_path, enable_checkpointing=True)
    trainer.fit(Odd(), loader(), loader())
    trainer.test(dataloaders=loader(), verbose=False)
    messages = agent.close()
    path = trainer.checkpoint_callback.best_model_path
    told = [m for m in messages if m["type"] == "report"]
    assert {m["by"] for m in told} == {"engine"}
    assert set(told[-1]["value"]) >= {"train_loss", "val_loss", "test_loss", "engine"}
    assert told[-1]["value"]["val_loss"] is None
    assert told[-1]["not_finite"] == {"val_loss": "nan"}
    assert told[-1]["value"]["engine"]["monitor"] is None
    assert told[-1]["value"]["engine"]["best_model_path"] == path
    assert (told[-1]["value"]["engine"]["global_step"], len(told)) == (6, 2)
    progress = [m for m in messages if m["type"] == "progress"]
    assert {"type": "progress", "step": 6, "epoch": 0, "checkpoint": path} in progress
    assert len(progress) <= 4  # one a second, and the checkpoint's


def test_where_a_run_fails_is_told_at_once(agent, tmp_path):
    """The step at which the exception passes, however long ago the last progress was told."""

    class Fails(Toy):
        def training_step(self, batch, batch_idx):
            if self.global_step == 4:
                raise ValueError("bad batch")
            return super().training_step(batch, batch_idx)

    with pytest.raises(ValueError, match="bad batch"):
        quiet(tmp_path).fit(Fails(), loader(), loader())
    last = agent.close()[-1]
    assert last == {"type": "progress", "step": 4, "epoch": 0, "failed": True}


def test_an_agent_that_is_gone_does_not_matter(tmp_path, monkeypatch):
    """Training goes on, and the socket is not asked again."""
    monkeypatch.setattr(reports, "_line", None)
    monkeypatch.setenv("PLAUNCH_SOCKET", str(tmp_path / "nobody.sock"))
    trainer = quiet(tmp_path)
    trainer.fit(Toy(), loader(), loader())
    assert trainer.global_step == 6
    assert not reports.line().is_open


def test_without_an_agent_nothing_is_told(tmp_path, monkeypatch):
    """Plain python and torchrun have none."""
    monkeypatch.setattr(reports, "_line", None)
    monkeypatch.delenv("PLAUNCH_SOCKET", raising=False)
    assert not reports.line().is_open
    quiet(tmp_path).fit(Toy(), loader(), loader())


def test_progress_is_told_about_once_a_second(agent, monkeypatch):
    """However fast the steps are."""
    now = [100.0]
    monkeypatch.setattr(reports.time, "monotonic", lambda: now[0])
    line = reports.line()
    for step in range(50):
        now[0] += 0.1
        line.progress(step, 0)
    assert 4 <= len(agent.close()) <= 6
