"""The last lines of a rank, out of bytes that are cut anywhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.agent.ranks.last_lines import KEPT_LINES, LINE_BYTES, RAW_BYTES, LastLines


def kept(*parts: bytes, digest: bool = True) -> list[str]:
    """The last lines; with ``digest`` after each part, as where much has come."""
    last = LastLines()
    for part in parts:
        last.feed(1, part)
        if digest:
            last.lines()
    return last.lines()


@pytest.mark.parametrize("digest", [False, True])
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
        ([b"1%\r", b"2%\r", b"3%\n"], ["3%"]),
        ([b"\r1%", b"\r2%", b"\r3%\n"], ["3%"]),
        ([b"1%\r2%"], ["2%"]),
        ([b"bar\r", b"\r\n"], ["bar"]),
        ([b"caf\xc3", b"\xa9\n"], ["café"]),
        ([b"\xff\xfe\n"], ["\udcff\udcfe"]),
        ([], []),
    ],
)
def test_cases(parts: list[bytes], lines: list[str], digest: bool) -> None:
    """Ends of every kind, cut anywhere, bytes that are no UTF-8, and a bar's last state."""
    assert kept(*parts, digest=digest) == lines


@given(st.binary(max_size=200), st.data())
def test_any_cut_gives_the_same_lines(data: bytes, draw: st.DataObject) -> None:
    """The cuts never matter."""
    cut = draw.draw(st.integers(0, len(data)))
    assert kept(data[:cut], data[cut:]) == kept(data)


def test_two_streams_do_not_cut_each_others_lines() -> None:
    """Standard error in the middle of a line of standard output is a line of its own."""
    last = LastLines()
    for stream, data in ((1, b"loading "), (2, b"a warning\n"), (1, b"done\n"), (2, b"no end")):
        last.feed(stream, data)
    assert last.lines() == ["a warning", "loading done", "no end"]


@pytest.mark.parametrize("part", [b"x" * 65536, b"\r%99999d" % 1, b"y" * 4095 + b"\n"])
def test_no_output_needs_memory(part: bytes) -> None:
    """A line without an end, a bar of many states, and long lines: what is kept stays small."""
    last = LastLines()
    for _ in range(300):
        last.feed(1, part)
    assert last._size <= RAW_BYTES
    lines = last.lines()
    assert len(lines) <= KEPT_LINES
    assert all(0 < len(line) <= LINE_BYTES for line in lines)
    assert max(map(len, last._partial.values())) <= LINE_BYTES
