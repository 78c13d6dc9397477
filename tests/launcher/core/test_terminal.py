"""What reaches a terminal: printable words, colours where they are wanted, and what ranks send."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import Any

import pytest

from launcher.api import JobFailed
from launcher.core.console.console import Output, problem_lines, result_lines, table
from launcher.core.console.terminal import (
    PALETTE,
    RED,
    Filter,
    coloured,
    one_line,
    paragraph,
    printable,
    wants_colour,
)
from launcher.core.errors import ClusterError, NodeError
from launcher.core.job import Failure, RankResult, Result, Verdict

# Title, clipboard, the screen, C1 controls, reordered text, a line of our own, a raw byte.
EVIL = (
    "a\x1b]0;owned\x07b\x1b]52;c;cm0gLXJm\x1b\\c\x1b[2J\x9b31m\x90q\x9c\u202exe\u2066\x7f\r\b"
    "\nplaunch: succeeded\udc9b[2J\u2028z"
)
OBEYED = [chr(code) for code in (*range(9), *range(11, 32), *range(0x7F, 0xA0))] + [
    "\u202e", "\u2066", "\u2028", "\udc9b",
]  # fmt: skip


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the caller of the tests has set does not matter here."""
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")


def is_harmless(text: str) -> bool:
    """Nothing that a terminal obeys, and no line that pretends to be ours."""
    return not any(char in text for char in OBEYED) and "\nplaunch: succeeded" not in text


def test_what_is_made_printable() -> None:
    """Escapes take the place of what a terminal obeys; other text, JSON too, stays as it is."""
    assert is_harmless(one_line(EVIL))
    assert is_harmless(paragraph(EVIL))
    assert printable("\x1b[31m") == "\\x1b[31m"
    assert printable("\x9b\x7f\u202e") == "\\u009b\\u007f\\u202e"
    assert printable(printable(EVIL)) == printable(EVIL)
    fine = "Zürich\t日本 👩‍🔬 \\x1b\n"
    assert printable(fine) == fine
    assert json.loads(printable(json.dumps({"a": EVIL}))) == {"a": EVIL}


def said(monkeypatch: pytest.MonkeyPatch, speak: Any, **options: Any) -> str:
    """What comes out on a terminal without colours, both streams."""
    monkeypatch.setenv("NO_COLOR", "1")
    out, err = Terminal(), Terminal()
    speak(Output(out, err, **options))
    return out.getvalue() + err.getvalue()


FAILED = Verdict(
    "exception", 0, EVIL, 1, message=EVIL, last_lines=(EVIL,),
    exception=Failure(EVIL, EVIL, f"Traceback:\n  {EVIL}\n"),
)  # fmt: skip
SUCCEEDED = Result(
    "j", "succeeded", 0, 1, 0, 1, 1.0, (),
    (RankResult(0, 0, "n", 0, {EVIL: 1.0, "text": EVIL, "engine": {"best_model_path": EVIL}}),),
    None, EVIL,
)  # fmt: skip


@pytest.mark.parametrize(
    "speak",
    [
        lambda o: o.say(EVIL),
        lambda o: o.error(EVIL),
        lambda o: o.detail(EVIL),
        lambda o: o.block([EVIL]),
        lambda o: o.summary(result_lines(SUCCEEDED)),
        lambda o: o.block(problem_lines([NodeError(EVIL, EVIL, EVIL)])),
        lambda o: o.stdout("\n".join(table([["NODE"], [EVIL]])) + "\n"),
        lambda o: o.verdict(FAILED),
        lambda o: [o.name_ranks({0: EVIL, 1: EVIL}), o.printed(0, "x\n", err=False)],
        lambda o: [o.name_ranks({0: "n", 1: "n"}), o.printed(1, f"{EVIL}\n", err=True)],
    ],
)
def test_every_door_is_closed(monkeypatch: pytest.MonkeyPatch, speak: Any) -> None:
    """Whatever a host, an agent, a rank or SLURM has put into our words: nothing is obeyed."""
    text = said(monkeypatch, speak, verbose=True)
    assert text
    assert is_harmless(text), repr(text)


def test_exceptions_that_others_print() -> None:
    """Of launch(), say: their texts may quote a host, or a rank."""
    assert is_harmless(str(ClusterError([NodeError(EVIL, EVIL, EVIL)])))
    assert is_harmless(str(JobFailed(replace(SUCCEEDED, state="failed", verdict=FAILED))))


def test_lines_of_ranks_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several ranks: text and colours, which end with the line; off a terminal as they are."""
    for name, value in {"NO_COLOR": "", "FORCE_COLOR": "", "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)
    text = "\x1b[1;32mgreen\x1b[0m \x1b[31mred\x1b]0;t\x07\x1b[2J\x1b[6n"
    out, pipe = Terminal(), io.StringIO()
    for stream in (out, pipe):
        output = Output(stream, stream)
        output.name_ranks({0: "n", 1: "n"})
        for piece in (text[:9], text[9:], "\nx\b\by\n"):
            output.printed(0, piece, err=False)
    prefix = coloured("[n:0]", PALETTE[0])
    shown = "\x1b[1;32mgreen\x1b[0m \x1b[31mred\x1b[0m"
    assert out.getvalue() == f"{prefix} {shown}\n{prefix} xy\n"
    assert pipe.getvalue() == f"[n:0] {text}\n[n:0] x\b\by\n"


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("a\x1b[1A\x1b[2Kb\rc\x1b[?25l\x1b[38;5;9md", None),  # bars and colours
        ("a\x1b]52;c;eA==\x07b", "ab"),  # the clipboard
        ("a\x1b]0;title\x1b\\b", "ab"),
        ("a\x1bPq\x9cb\x1b_x\x1b\\c", "abc"),
        ("a\x1b[6n\x1b[c\x1b[21t\x1b[>c\x05b", "ab"),  # what it would answer by typing
        ("a\x1b[?1000h\x1b[?1049h\x1b[?2004hb", "ab"),  # modes that stay on
        ("a\x1bcb\x1b(0c\x0e", "abc"),  # a reset, and other character sets
        ("a\x9b2Jb\x9d0;t\x9cc", "a2Jb0;tc"),
        ("grün 日本", None),
        ("a\udc9b2J", "a\ufffd2J"),
    ],
)
def test_the_only_rank_on_a_terminal(sent: str, shown: str | None) -> None:
    """It may move the cursor, but in one piece or byte by byte nothing else comes through."""
    whole = Filter(moves=True)
    assert whole.feed(sent) == (sent if shown is None else shown)
    cut = Filter(moves=True)
    data = sent.encode("utf-8", "surrogateescape")
    pieces = [data[i : i + 1].decode("utf-8", "surrogateescape") for i in range(len(data))]
    assert "".join(map(cut.feed, pieces)) == (sent if shown is None else shown)


@pytest.mark.parametrize(
    ("environ", "terminal", "expected"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"NO_COLOR": "1"}, True, False),
        ({"NO_COLOR": ""}, True, True),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, True, False),
        ({"FORCE_COLOR": "1"}, False, True),
        ({"FORCE_COLOR": "0"}, True, False),
        ({"FORCE_COLOR": ""}, False, False),
        ({"TERM": "dumb"}, True, False),
        ({"TERM": "dumb", "FORCE_COLOR": "1"}, False, True),
    ],
)
def test_when_there_are_colours(
    environ: dict[str, str], terminal: bool, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NO_COLOR, FORCE_COLOR and TERM=dumb; an empty variable counts as not set."""
    assert wants_colour(environ, terminal=terminal) is expected
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    stream = Terminal() if terminal else io.StringIO()
    output = Output(stream, stream)
    output.name_ranks({0: "n", 1: "n"})
    output.printed(1, "x\n", err=False)
    output.verdict(Verdict("exit", 0, "n", 3))
    assert ("\x1b[" in stream.getvalue()) is expected


def test_a_dumb_terminal_has_no_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line can't be drawn over there."""
    monkeypatch.setenv("TERM", "dumb")
    stream = Terminal()
    output = Output(stream, stream)
    output.name_ranks({0: "n", 1: "n"})
    output.printed(0, "10%\r20%", err=True)
    assert stream.getvalue() == ""
    output.ended()
    assert stream.getvalue() == "[n:0] 20%\n"


def rgb(colour: str) -> tuple[int, int, int]:
    """A colour of the 256."""
    steps = (0, 95, 135, 175, 215, 255)
    number = int(colour.removeprefix("38;5;")) - 16
    return steps[number // 36], steps[number // 6 % 6], steps[number % 6]


def shares(colour: str) -> list[float]:
    return [part / 255 for part in rgb(colour)]


def contrast(colour: str, background: float) -> float:
    """As the accessibility guidelines of the web have it."""
    parts = [
        c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in rgb(colour)
    ]
    light = 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]
    return (max(light, background) + 0.05) / (min(light, background) + 0.05)


@pytest.mark.parametrize("colour", [*PALETTE, RED])
def test_colours_can_be_read(colour: str) -> None:
    """On black and on white; prefixes are not red, which is the verdict's."""
    assert contrast(colour, 0.0) >= 3
    assert contrast(colour, 1.0) >= 3
    red, green, blue = rgb(colour)
    assert (red > 1.5 * max(green, blue)) is (colour == RED)


def test_the_verdict_is_red() -> None:
    """Its first line, and no other words of ours."""
    stream = Terminal()
    output = Output(stream, stream)
    output.verdict(Verdict("exit", 0, "n", 3, last_lines=("x",)))
    output.error("y")
    first, *rest = stream.getvalue().splitlines()
    assert first == coloured("plaunch: rank 0 on n failed first: exit code 3", RED)
    assert not any("\x1b" in line for line in rest)
