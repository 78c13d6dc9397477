"""Whole lines out of bytes, however they are cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.agent.logs import MAX_LINE, LineSplitter


def shown(*parts: bytes) -> list[str]:
    """Whole lines; a transient one is marked by an ellipsis."""
    splitter = LineSplitter()
    found = [line for part in parts for line in splitter.feed(part)]
    found += splitter.flush()
    return [line.text + "…" * line.transient for line in found]


@pytest.mark.parametrize(
    ("parts", "lines"),
    [
        ([b"one\ntwo\n"], ["one", "two"]),
        ([b"on", b"e\nt", b"wo\n"], ["one", "two"]),
        ([b"no end"], ["no end"]),
        ([b"\n\n"], ["", ""]),
        ([b"dos\r\nlines\r\n"], ["dos", "lines"]),
        ([b"cut\r", b"\nhere\r\n"], ["cut", "here"]),
        ([b"1%\r2%\r3%\n"], ["3%"]),
        ([b"1%\r", b"2%\r", b"3%\n"], ["1%…", "3%"]),
        ([b"\r1%", b"\r2%", b"\r3%\n"], ["1%…", "3%"]),
        ([b"1%\r2%"], ["1%…", "2%"]),
        ([b"bar\r\r\n"], ["bar"]),
        ([b"caf\xc3", b"\xa9\n"], ["café"]),
        ([b"\xff\xfe\n"], ["\udcff\udcfe"]),
        ([], []),
    ],
)
def test_cases(parts: list[bytes], lines: list[str]) -> None:
    """Ends of every kind, cut anywhere, and bytes that are no UTF-8."""
    assert shown(*parts) == lines


@given(st.binary(max_size=200).filter(lambda data: b"\r" not in data), st.data())
def test_any_cut_gives_the_same_lines(data: bytes, draw: st.DataObject) -> None:
    """Without carriage returns the cuts never matter, and no byte is lost."""
    cut = draw.draw(st.integers(0, len(data)))
    lines = shown(data[:cut], data[cut:])
    assert lines == shown(data)
    joined = "\n".join(lines).encode("utf-8", "surrogateescape")
    assert joined == (data[:-1] if data.endswith(b"\n") else data)


@pytest.mark.parametrize("state", [b"\r%d%%", b"%d%%\r"])
def test_a_progress_bar_needs_no_memory(state: bytes) -> None:
    """States that are over are let go, though no newline ever comes."""
    splitter = LineSplitter()
    for number in range(1000):
        splitter.feed(state % number)
    assert len(splitter._partial) < 20


def test_a_line_without_end_is_cut_at_last() -> None:
    """A stream of one endless line is passed on in pieces, so that memory stays bounded."""
    splitter = LineSplitter()
    (line,) = splitter.feed(b"x" * (MAX_LINE + 5))
    assert len(line.text) == MAX_LINE + 5
    assert not splitter.pending


def test_the_last_lines_are_kept() -> None:
    """For the verdict: the last 50, an unfinished one included, progress bars left out."""
    splitter = LineSplitter(keep=3)
    splitter.feed(b"1\n2\n3\nbar\r")
    splitter.feed(b"\r4\nlast words")
    assert splitter.pending
    splitter.flush()
    assert list(splitter.tail) == ["3", "4", "last words"]
