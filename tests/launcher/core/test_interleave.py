"""Several ranks on one stream: whole lines, unfinished ones in time, bars at a bounded rate."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.core.console.interleave import HOLD_BYTES, HOLD_S, STATE_S, Interleaver, end_of_whole


class Shown:
    """What came out, and a clock that the test moves."""

    def __init__(self) -> None:
        self.text, self.now = b"", 0.0
        self.merged: Interleaver[int] = Interleaver(self._write, lambda key: b"[%d] " % key)

    def _write(self, _: int, data: bytes) -> None:
        self.text += data

    def feed(self, key: int, data: bytes) -> None:
        self.merged.feed(key, data, self.now)

    def later(self, seconds: float = HOLD_S) -> bytes:
        """Let time pass, look as often as asked for, and return all that is shown by then."""
        end = self.now + seconds
        while (due := self.merged.due()) is not None and due <= end:
            self.now = max(due, self.now)
            self.merged.tick(self.now)
        self.now = end
        return self.text


def test_whole_lines_come_at_once_and_unfinished_ones_in_time() -> None:
    """A prompt is shown within two seconds, and goes on where it stands."""
    shown = Shown()
    shown.feed(0, b"one\ntwo\nload")
    assert shown.text == b"[0] one\n[0] two\n"
    assert HOLD_S <= 2
    assert shown.later() == b"[0] one\n[0] two\n[0] load"
    shown.feed(0, b"ing")
    shown.feed(0, b" done\nnext\n")
    assert shown.text == b"[0] one\n[0] two\n[0] loading done\n[0] next\n"


def test_a_line_that_another_rank_interrupts_goes_on_as_a_new_one() -> None:
    """Dots of two ranks: no line holds words of both."""
    shown = Shown()
    shown.feed(0, b"epoch 1 ..")
    shown.later()
    shown.feed(1, b"hello\n")
    shown.feed(0, b".")
    shown.later()
    shown.feed(0, b" ok\n")
    assert shown.text == b"[0] epoch 1 ..\n[1] hello\n[0] . ok\n"
    for key in (0, 1):
        shown.feed(key, b".")
        shown.later()
    shown.feed(0, b"\n\n")  # the first ends a line that was ended for it
    assert shown.text.endswith(b"\n[0] .\n[1] .\n[0] \n")


def test_the_end_of_a_rank_ends_its_line() -> None:
    """Whether it was shown already or not; and the end of all does so for all."""
    shown = Shown()
    shown.feed(0, b"dying w")
    shown.merged.finish([0])
    shown.feed(1, b"stands")
    shown.later()
    shown.feed(2, b"\r1%\r2%")
    shown.merged.finish()
    assert shown.text == b"[0] dying w\n[1] stands\n[2] 2%\n"


def test_a_bar_shows_its_latest_state_at_a_bounded_rate() -> None:
    """Ten states a second for an hour are some lines a minute, the first within two seconds."""
    shown = Shown()
    for number in range(36000):
        shown.feed(0, b"\r%d of 36000" % number)
        shown.later(0.1)
    lines = shown.text.split(b"\n")
    assert lines[0] == b"[0] 4 of 36000"
    assert 60 < len(lines) < 200
    shown.feed(0, b"\r36000 of 36000\n")
    assert shown.text.endswith(b"\n[0] 36000 of 36000\n")


def test_the_last_state_of_a_bar_comes_once() -> None:
    """What was shown already is not shown again when the line ends."""
    shown = Shown()
    shown.feed(0, b"\r100%")
    assert shown.later() == b"[0] 100%\n"
    shown.feed(0, b"\r\n")
    shown.feed(0, b"after\n")
    assert shown.text == b"[0] 100%\n[0] after\n"


def test_bars_that_end_each_begin_anew() -> None:
    """The pause between two states does not grow over bars that came before."""
    shown = Shown()
    for _ in range(10):
        for _ in range(100):
            shown.feed(0, b"\rx%f" % shown.now)
            shown.later(0.1)
        shown.feed(0, b"\n")
    assert shown.merged._lines[0].pause == STATE_S


def test_a_line_without_an_end_is_passed_on() -> None:
    """Gigabytes without a newline need no memory, and none is lost."""
    shown = Shown()
    for _ in range(100):
        shown.feed(0, b"x" * 50_000)
        assert len(shown.merged._lines[0].held) <= HOLD_BYTES
    shown.feed(0, b"\n")
    assert shown.text == b"[0] " + b"x" * 5_000_000 + b"\n"


@pytest.mark.parametrize(
    ("data", "whole"),
    [
        (b"caf\xc3\xa9", b"caf\xc3\xa9"),
        (b"caf\xc3", b"caf"),
        (b"\xf0\x9f\x98", b""),
        (b"a\xf0\x9f\x98\x80", b"a\xf0\x9f\x98\x80"),
        (b"no text \xff", b"no text \xff"),
        (b"\xa9\xa9\xa9\xa9\xa9", b"\xa9\xa9\xa9\xa9\xa9"),
        (b"red\x1b", b"red"),
        (b"red\x1b[3", b"red"),
        (b"red\x1b[31m", b"red\x1b[31m"),
        (b"\x1b]0;title", b""),
        (b"", b""),
    ],
)
def test_nothing_is_cut_in_two(data: bytes, whole: bytes) -> None:
    """Characters of UTF-8 and sequences for terminals are shown whole."""
    assert data[: end_of_whole(data)] == whole


@given(st.lists(st.tuples(st.integers(0, 2), st.binary(max_size=20), st.booleans()), max_size=20))
def test_no_byte_is_lost(parts: list[tuple[int, bytes, bool]]) -> None:
    """However ranks take turns: without carriage returns all that they wrote is shown, in order."""
    shown = Shown()
    for key, data, pause in parts:
        shown.feed(key, data.replace(b"\r", b"").replace(b"[", b""))
        if pause:
            shown.later()
    shown.merged.finish()
    for key in range(3):
        prefix = b"[%d] " % key
        wrote = b"".join(d.replace(b"\r", b"").replace(b"[", b"") for k, d, _ in parts if k == key)
        lines = [one for one in shown.text.split(b"\n") if one.startswith(prefix)]
        got = b"".join(one.removeprefix(prefix) for one in lines)
        assert got == wrote.replace(b"\n", b"")
