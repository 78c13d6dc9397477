"""Attacks on the terminal, carried out: escapes from hosts, agents, ranks, folders and SLURM."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.rundir import index
from tests.launcher.support.runs import PLAUNCH, Launcher, Run

TITLE, CLIPBOARD, BIDI, C1 = "\x1b]0;owned\x07", "\x1b]52;c;cm0gLXJm\x07", "\u202e", "\x9b2J"
EVIL = f"{TITLE}{CLIPBOARD}\x1b[2J{C1}{BIDI}evil"


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("NO_COLOR", "1")


def harmless(text: str) -> str:
    """The text, in which there is nothing that a terminal obeys."""
    found = {char for char in text if char in "\x1b\x07\x9b\x90\x9d" + BIDI}
    assert found == set(), repr(text)
    return text


@contextlib.contextmanager
def a_server(says: bytes) -> Iterator[int]:
    """Something that accepts connections, says this to each, and closes."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    caller, _ = server.accept()
                    with caller, contextlib.suppress(OSError):
                        caller.sendall(says)
                        caller.settimeout(5)
                        caller.recv(4096)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join(10)


@pytest.mark.parametrize(
    "banner",
    [f"SSH-{EVIL}-x\r\n", f"{EVIL}\r\n" * 3, f"SSH-2.0-{EVIL}\r\n{EVIL}\r\n"],
    ids=["version", "lines before it", "software"],
)
def test_a_host_before_its_key_is_known(plaunch: Launcher, banner: str) -> None:
    """What whoever answers at that port says, in the table of problems."""
    with a_server(banner.encode()) as port:
        done = plaunch("doctor", "--hosts", f"127.0.0.1:{port}")
    assert done.code == 3
    assert "127.0.0.1" in harmless(done.out + done.err)


def cluster(plaunch: Launcher, python: str) -> str:
    """A cluster file whose node runs this program as its python."""
    path = plaunch.folder / "python"
    path.write_text(python)
    path.chmod(0o755)
    plaunch.write("c.yaml", f"cluster: local\npython: {path}\n")
    return "c.yaml"


def test_a_node_that_can_not_start_its_agent(plaunch: Launcher) -> None:
    """Its last words on standard error are quoted."""
    file = cluster(plaunch, f"#!/bin/sh\nprintf '%s\\n' '{EVIL}' >&2\nexit 1\n")
    done = plaunch("--cluster", file, "--no-python", "true")
    assert done.code == 3
    assert "evil" in harmless(done.out + done.err)


def test_what_ranks_and_folders_say(plaunch: Launcher) -> None:
    """Names and texts of values, an exception's message, a program's name, arguments: at the end of
    the run, in the table and in the details of `plaunch status`, and in a refusal."""
    name = f"{EVIL}.py"
    plaunch.write(
        name,
        f"""
        import os, sys
        from launcher import report
        EVIL = {EVIL!r}
        report({{EVIL: 1.5, "text": EVIL, "engine": {{"best_model_path": EVIL, "monitor": EVIL}}}})
        if sys.argv[1:]:
            raise type(EVIL, (Exception,), {{}})(EVIL + "\\nplaunch: succeeded")
        """,
    )
    done = plaunch("--start", "cold", name).ok()
    assert "=1.5" in harmless(done.err)
    failed = plaunch("--start", "cold", "--run-dir", "r", name, EVIL)
    assert failed.code == 1
    ours = failed.err[failed.err.index("plaunch: rank 0") :]
    assert "failed first" in harmless(ours)
    assert "\nplaunch: succeeded" not in ours
    told = plaunch("status", "r").ok()
    assert "failed first" in harmless(told.out)
    assert "\nplaunch: succeeded" not in told.out
    assert len(harmless(plaunch("status").ok().out).splitlines()) == 3
    assert harmless(plaunch("prune", "--older", "1s", "--dry-run").out + "x")
    assert json.loads(harmless(plaunch("status", "--json", "r").ok().out))[0]["args"] == [EVIL]
    refused = plaunch("--run-dir", "r", name)
    assert refused.code == 2
    harmless(refused.err)


def test_slurms_own_words(plaunch: Launcher, tmp_path: Path) -> None:
    """What its commands print, and what is noted of a job, reach the terminal as words."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for command in ("sbatch", "squeue", "scontrol", "sacct"):
        (folder / command).write_text(f"#!/bin/sh\nprintf '%s' '{EVIL}' >&2\nexit 1\n")
        (folder / command).chmod(0o755)
    env = {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
    plaunch.write("t.py", "")
    done = plaunch("--cluster", "slurm", "t.py", env=env)
    assert done.code == 3
    assert "evil" in harmless(done.err)
    index.record(index.Entry(str(tmp_path / "x"), "slurm", None, slurm="12", program=EVIL))
    status = plaunch("status", env=env)
    assert "evil" in harmless(status.out + status.err)
    harmless(plaunch("status", "12", env=env).out)


def on_a_terminal(plaunch: Launcher, *words: str) -> str:
    """All that a terminal gets from ``plaunch words``."""
    master, slave = pty.openpty()
    os.set_blocking(master, False)
    shell = ("sh", "-c", 'exec "$@" >"$TTY" 2>"$TTY" <"$TTY"', "sh", PLAUNCH)
    env = {"TTY": os.ttyname(slave), "TERM": "xterm", "NO_COLOR": "", "FORCE_COLOR": ""}
    run: Run = plaunch.start(*words, env=env, command=shell)
    seen = b""

    def more() -> bool:
        nonlocal seen
        with contextlib.suppress(OSError):
            while data := os.read(master, 65536):
                seen += data
        return run.process.poll() is not None

    try:
        run.until(more, "the run is over")
        more()
        run.wait()
    finally:
        os.close(master)
        os.close(slave)
    return seen.decode(errors="replace")


SPEAKS = f"""
import sys
sys.stdout.buffer.write(({EVIL!r} + "\\x1b[31mred\\x1b[0m \\x1b[1Aup\\x1b[6n done\\n").encode())
"""


def test_what_ranks_print_on_a_terminal(plaunch: Launcher) -> None:
    """Colours come through, of the only rank its movements, too; nothing else. The log has all."""
    plaunch.write("t.py", SPEAKS)
    several = on_a_terminal(plaunch, "--start", "cold", "--procs", "2", "t.py")
    assert several.count("\x1b[31mred\x1b[0m up done") == 2
    one = on_a_terminal(plaunch, "--start", "cold", "--run-dir", "one", "t.py")
    assert "\x1b[31mred\x1b[0m \x1b[1Aup done" in one
    again = on_a_terminal(plaunch, "logs", "one")
    assert "\x1b[31mred\x1b[0m \x1b[1Aup done" in again
    for text in (several, one, again):
        for attack in (TITLE, CLIPBOARD, "\x1b[6n", C1):
            assert attack not in text
    assert EVIL.encode() in (plaunch.folder / "one/logs/rank0.log").read_bytes()
    piped = plaunch("logs", "one").ok()
    assert EVIL in piped.out
