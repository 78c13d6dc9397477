"""What ranks print without a newline: in the logs at once, on the terminal or pipe in time."""

from __future__ import annotations

import os
import re
import signal
import subprocess

import pytest

from tests.launcher.support.runs import PLAUNCH, Launcher, Run

# Each step waits until the test has seen the one before.
MAIN = """
import os, sys, time
rank = os.environ["RANK"]
def say(text, name, stream=sys.stdout):
    stream.write(text)
    stream.flush()
    while name and not os.path.exists(name): time.sleep(0.01)
if rank == "0":
    say("loading \\N{GRINNING FACE} ... ", "seen-prompt")
    say("ok\\n", "seen-ok")
    for number in range(40):
        say(f"\\r{number} of 40", None, sys.stderr)
        time.sleep(0.02)
    say("", "seen-bar")
    sys.stderr.buffer.write(b"\\ncut \\xf0\\x9f")
    sys.stderr.buffer.flush()
    say("", "seen-cut")
    say("dying wi", None)
    if len(sys.argv) > 1: time.sleep(600)
    os._exit(3)
say("fine\\n", None)
time.sleep(600)
"""


def log(run: Run, rank: int) -> bytes:
    folder = run.run_dir
    path = None if folder is None else folder / "logs" / f"rank{rank}.log"
    return path.read_bytes() if path is not None and path.exists() else b""


def go_on(run: Run, name: str) -> None:
    (run.folder / name).touch()


def test_it_is_in_the_log_at_once_and_shown_in_time(plaunch: Launcher) -> None:
    """A prompt, dots, a bar and the last words of a rank that dies, with two ranks and a pipe."""
    plaunch.write("main.py", MAIN)
    run = plaunch.start("--start", "cold", "--procs", "2", "main.py")
    begun = "loading \N{GRINNING FACE} ... "
    run.until(lambda: log(run, 0) == begun.encode(), "the prompt is in the log")
    node = os.uname().nodename
    run.until(lambda: f"[{node}:0] {begun}" in run.out, "the prompt is shown")
    run.until(lambda: f"[{node}:1] fine\n" in run.out, "the other rank is heard")
    reader = subprocess.Popen(
        [PLAUNCH, "logs", "-f", str(run.run_dir)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        assert reader.stdout is not None
        got = b""
        while begun.encode() not in got:
            data = os.read(reader.stdout.fileno(), 65536)
            assert data, f"`plaunch logs -f` ended: {got!r}"
            got += data
        go_on(run, "seen-prompt")
        run.until(lambda: log(run, 0).endswith(b"ok\n"), "the rest is in the log")
        go_on(run, "seen-ok")
        run.until(lambda: log(run, 0).count(b"\r") == 40, "every state of the bar is in the log")
        run.until(lambda: "39 of 40\n" in run.err, "the last state of the bar is shown")
        assert 1 <= len(re.findall(r"\d+ of 40", run.err)) < 10
        go_on(run, "seen-bar")
        run.until(lambda: "cut " in run.err, "what can be shown is shown")
        go_on(run, "seen-cut")
        done = run.wait()
        rest, _ = reader.communicate(timeout=60)
    finally:
        reader.kill()
        reader.wait()
    assert f"[{node}:0] dying wi\n" in done.out
    assert log(run, 0).endswith(b"\ncut \xf0\x9fdying wi")
    assert (done.code, done.verdict["last_lines"][-1]) == (3, "dying wi")
    assert b"[rank 0] dying wi\n" in (got + rest).replace(b"cut \xf0\x9f", b"[rank 0] ")
    assert b"[rank 0] ok\n" in got + rest or b"... ok\n" in got + rest
    assert not re.search(rf"\S\[{node}:", done.out + done.err), "lines begin within others"


@pytest.mark.parametrize("ranks", ["1", "2"])
def test_it_is_kept_when_plaunch_is_killed(plaunch: Launcher, ranks: str) -> None:
    """With SIGKILL: all that a rank has printed until then is in its log."""
    for name in ("seen-prompt", "seen-ok", "seen-bar", "seen-cut"):
        (plaunch.folder / name).touch()
    plaunch.write("main.py", MAIN)
    run = plaunch.start("--start", "cold", "--procs", ranks, "main.py", "stay")
    run.until(lambda: log(run, 0).endswith(b"dying wi"), "the last words are in the log")
    run.signal(signal.SIGKILL)
    run.wait()
    assert log(run, 0).endswith(b"dying wi")
