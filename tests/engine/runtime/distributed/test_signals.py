"""What a fit does with signals, and that afterwards they are what they were."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from engine.runtime.coordination.signals import SIGNALS, is_listening, listening, preemption
from engine.runtime.errors import Preempted

ROOT = Path(__file__).parents[4]


def test_signals_are_noted_and_then_what_they_were():
    """The first one is kept by name; inside another the outer one goes on."""
    with listening(True):
        with listening(True):
            pass
        assert preemption.signal is None
        os.kill(os.getpid(), signal.SIGUSR2)
        os.kill(os.getpid(), signal.SIGTERM)
    assert preemption.signal == "SIGUSR2"
    assert not is_listening()
    assert [signal.getsignal(number) for number in SIGNALS] == [signal.SIG_DFL] * len(SIGNALS)


def test_a_function_of_the_programs_own_is_called_too():
    """Ours comes first, so that it may even raise; later it is there alone again."""
    heard = []

    def mine(number, frame):
        heard.append((number, preemption.signal))
        raise KeyError

    signal.signal(signal.SIGTERM, mine)
    with pytest.raises(KeyError), listening(True):
        os.kill(os.getpid(), signal.SIGTERM)
    assert heard == [(signal.SIGTERM, "SIGTERM")]
    assert signal.getsignal(signal.SIGTERM) is mine


@pytest.mark.parametrize("own", [False, True])
def test_a_failure_elsewhere_is_no_preemption(tmp_path, monkeypatch, own):
    """Told to end because another rank has failed, the program ends, by its own function if it has
    one: to save with a rank that is gone would wait for ever."""
    monkeypatch.setenv("PLAUNCH_SOCKET", str(tmp_path / "socket"))
    (tmp_path / "socket.failed").touch()
    heard = []
    if own:
        signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    seen = None
    with listening(True):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except SystemExit as error:
            seen = error.code
    assert (seen, heard) == ((None, [signal.SIGTERM]) if own else (143, []))
    assert preemption.signal is None


def test_what_is_ignored_stays_ignored():
    """A program that ignores a signal has its reasons."""
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    with listening(True):
        assert signal.getsignal(signal.SIGUSR1) == signal.SIG_IGN
        os.kill(os.getpid(), signal.SIGUSR1)
    assert preemption.signal is None


def test_on_the_way_out_signals_do_nothing():
    """After a preemption the next signal must not change how the process ends."""
    with pytest.raises(Preempted) as caught, listening(True):
        raise Preempted
    assert caught.value.code == 75
    assert [signal.getsignal(number) for number in SIGNALS] == [signal.SIG_IGN] * len(SIGNALS)


def test_under_a_launcher_they_are_noted_to_the_end():
    """Between two fits, after the last, and while the interpreter ends."""
    code = """
import atexit, os, signal
def late():
    for number in signals.SIGNALS: os.kill(os.getpid(), number)
from engine.runtime.coordination import signals
atexit.register(late)
with signals.listening(True, stays=True): pass
with signals.listening(True, stays=True): pass
os.kill(os.getpid(), signal.SIGTERM)
print(signals.preemption.signal, signals.is_listening())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.stdout, done.returncode) == ("SIGTERM True\n", 0), done.stderr


@pytest.mark.parametrize("wanted", [True, False])
def test_where_nobody_listens_nothing_is_touched(wanted):
    """In another thread it is not possible, and where it is not wanted it is not done."""
    found = []

    def look():
        with listening(wanted):
            found.append(([signal.getsignal(number) for number in SIGNALS], is_listening()))

    if wanted:
        thread = threading.Thread(target=look)
        thread.start()
        thread.join(30)
    else:
        look()
    assert found == [([signal.SIG_DFL] * len(SIGNALS), False)]
