"""Programs of tests that are forked rather than started: they can't tell the difference."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.forkserver import ForkServer

SAME = """
import atexit, json, os, random, signal, sys, threading
import torch
atexit.register(lambda: print("unwound", file=sys.stderr))
print(json.dumps({
    "argv": sys.argv, "orig_argv": sys.orig_argv[1:], "path": sys.path, "cwd": os.getcwd(),
    "environment": dict(os.environ), "name": __name__, "file": globals().get("__file__"),
    "main": sys.modules["__main__"].__dict__ is globals(),
    "threads": [threading.active_count(), torch.get_num_threads()],
    "signals": [str(signal.getsignal(number)) for number in range(1, 32)],
    "wakeup": signal.set_wakeup_fd(-1),
    "blocked": len(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
    "ours": [name for name in sys.modules if name.startswith(("engine", "launcher", "tests"))],
    "seed": torch.initial_seed() == torch.default_generator.initial_seed(),
    "open": sorted(int(fd) for fd in os.listdir("/proc/self/fd") if int(fd) > 9),
}))
sys.exit(int(sys.argv[1]))
"""


@pytest.fixture(scope="module")
def server():
    server = ForkServer()
    yield server
    server.close()


@pytest.mark.parametrize("kind", ["script", "module", "text"])
def test_a_forked_program_is_what_python_starts(server, tmp_path, kind):
    """Arguments, paths, environment, folder, signals, threads, `__main__`, the end and its code."""
    (tmp_path / "program.py").write_text(SAME)
    (tmp_path / "beside").mkdir()
    words = {"script": ["program.py"], "module": ["-m", "program"], "text": ["-c", SAME]}[kind]
    words += ["3", "a word"]
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "beside"), "OMP_NUM_THREADS": "2"}
    forked = server.run(words, cwd=tmp_path, env=env)
    started = subprocess.run(
        [sys.executable, *words], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=100
    )
    assert json.loads(forked.stdout) == json.loads(started.stdout)
    assert (
        (forked.returncode, forked.stderr)
        == (3, "unwound\n")
        == (started.returncode, started.stderr)
    )


def test_programs_share_no_random_state_and_no_modules(server, tmp_path):
    """What one program draws, sets or imports is not what the next one finds."""
    text = """
import os, random, numpy, torch
torch.x = getattr(torch, "x", 0) + 1
print(torch.x, os.environ.pop("HOME", None), random.random(), torch.rand(1), numpy.random.rand())
"""
    first, second = (server.run(["-c", text], cwd=tmp_path).stdout.split() for _ in range(2))
    assert first[:2] == second[:2] == ["1", os.environ["HOME"]]
    assert not set(first[2:]) & set(second[2:])


def test_how_a_program_ends_is_told(server, tmp_path):
    """Signals and exceptions are seen as with subprocess; a deadline ends the program."""
    killed = server.start(["-c", "import signal; print('up', flush=True); signal.pause()"])
    with pytest.raises(subprocess.TimeoutExpired):
        killed.communicate(0.01)
    killed.terminate()
    assert killed.communicate(60)[1] == ""
    assert killed.returncode == -signal.SIGTERM
    failed = server.run(["-c", "raise ValueError(1)"])
    assert failed.returncode == 1
    assert failed.stderr.splitlines()[1] == '  File "<string>", line 1, in <module>'
    assert failed.stderr.endswith("ValueError: 1\n")
    with pytest.raises(subprocess.TimeoutExpired):
        server.run(["-c", "import signal; signal.pause()"], timeout=0.2)


def test_programs_end_with_the_server(tmp_path):
    """No program outlives the tests that started it."""
    server = ForkServer()
    program = server.start(["-c", "import signal; signal.pause()"])
    server.close()
    assert program.wait(60) == -signal.SIGKILL
    assert not Path(f"/proc/{program.pid}").exists()
