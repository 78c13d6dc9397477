"""The agent's code on its way: every Python gets what it can run, and starts quickly with it."""

from __future__ import annotations

import glob
import marshal
import os
import shutil
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import CodeType
from typing import Any

from launcher.controller.agents.bundle import PACKAGES, SOURCES, TEXTS, AgentBundle, own_kind
from launcher.controller.agents.link import agent_config
from launcher.core.job import Node, Program, RunOptions
from launcher.core.protocol import channel
from launcher.core.protocol.frames import Decoder, encode
from launcher.request.request import make_job

PYTHONS = [
    *(f"python3.{minor}" for minor in range(10, 20)),
    *glob.glob(os.path.expanduser("~/.pyenv/versions/3.1?.*/bin/python")),
]
# What takes long to import, and what comes along with it.
SLOW = {"json", "re", "enum", "functools", "socket", "selectors", "signal", "contextlib", "typing"}
SLOW |= {"dataclasses", "pathlib", "shutil", "ctypes", "hashlib", "hmac", "inspect", "subprocess"}


def interpreters() -> Iterator[tuple[str, str]]:
    """Interpreters of this machine, one of each kind: ``(kind, path)``."""
    seen = set()
    ask = "import importlib.util as u, sys; print(f'{sys.version[:5]} {u.MAGIC_NUMBER.hex()}')"
    for path in filter(None, map(shutil.which, PYTHONS)):
        done = subprocess.run([path, "-c", ask], capture_output=True, text=True, timeout=30)
        if done.returncode == 0 and done.stdout not in seen:
            seen.add(done.stdout)
            yield done.stdout.strip(), path


def first_words(python: str, folder: Path, *words: str, kind: str | None = None) -> dict[str, Any]:
    """Start an agent, hear its first messages, and end it; by type. "errors": standard error.

    ``words`` are options for the interpreter, ``kind`` is what it claims to be.
    """
    job = make_job(RunOptions(run_dir=str(folder)), Program("program", "true"))
    node = Node(name="n", address="127.0.0.1", python=python, workdir=str(folder))
    cargo = AgentBundle().with_config(agent_config(job, node, 0, 1))
    argv = [python, "-I", "-S", *words, "-c", channel.BOOTSTRAP]
    pipe = subprocess.PIPE
    found: dict[str, Any] = {}
    with subprocess.Popen(argv, bufsize=0, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            read, write = process.stdout.read, process.stdin.write
            data = channel.greet(read, write, "secret", "nonce", lambda own: cargo(kind or own))
            decoder = Decoder()
            while "probe" not in found:
                found |= {message["type"]: message for message in decoder.feed(data)}
                data = process.stdout.read(65536)
                assert data or "probe" in found, process.stderr.read().decode()
            process.stdin.write(encode({"type": "end"}))
            assert process.wait(30) == 0
            found["errors"] = process.stderr.read().decode()
        finally:
            process.kill()
    return found


def files(kind: str) -> dict[str, Any]:
    """What travels to a Python of this kind."""
    unpack = zlib.decompressobj()
    found: dict[str, Any] = marshal.loads(
        unpack.decompress(AgentBundle().with_config({"a": 1})(kind))
    )
    assert unpack.unused_data == b'{"a": 1}'
    return found


def test_compiled_code_goes_only_to_the_same_kind_of_python() -> None:
    """Any other gets the source, of all files; as do those that run in fresh interpreters."""
    ours, theirs = files(own_kind()), files("cpython-399-00000000")

    assert set(ours) == set(theirs) == {*PACKAGES, *SOURCES}
    assert all(isinstance(text, str) for text in theirs.values())
    assert isinstance(ours["launcher.agent.agent"], CodeType)
    assert {name for name in SOURCES if isinstance(ours[name], str)} == set(TEXTS)


def test_the_agent_starts_from_its_source(tmp_path: Path) -> None:
    """Where the node's Python is of another kind than ours."""
    found = first_words(sys.executable, tmp_path, kind="cpython-399-00000000")

    assert found["probe"]["workdir"]
    assert found["found"]["problem"] is None
    assert found["errors"] == ""


def test_the_agent_starts_on_every_python_of_this_machine(tmp_path: Path) -> None:
    """Whichever there are, of those that we support."""
    for kind, path in [("our own", sys.executable), *interpreters()]:
        found = first_words(path, tmp_path)

        assert found["probe"]["workdir"], kind
        assert found["found"]["problem"] is None, kind
        assert found["errors"] == "", kind


def test_an_agent_imports_nothing_slow(tmp_path: Path) -> None:
    """Guard and agent, from their start to their end: with 32 nodes it is most of a start."""
    told = first_words(sys.executable, tmp_path, "-X", "importtime")["errors"]
    imported = {row.rpartition("|")[2].strip() for row in told.splitlines()}

    assert "launcher.agent.agent" in imported
    assert SLOW & imported == set()
