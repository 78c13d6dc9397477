"""What a person sees: prefixes, the verdict's block, the end of a run, broken streams."""

from __future__ import annotations

import io
import os
import sys
from typing import Any

import pytest

from launcher.core.console.console import (
    Output,
    ranks_in_words,
    result_lines,
    table,
    value_lines,
    verdict_lines,
)
from launcher.core.console.terminal import PALETTE, coloured
from launcher.core.job import Failure, RankResult, Result, Verdict


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def streams(**options: Any) -> tuple[Output, io.StringIO, io.StringIO]:
    out, err = io.StringIO(), io.StringIO()
    return Output(out, err, **options), out, err


def test_prefixes_have_one_width() -> None:
    """Lines of all ranks begin in the same column; streams stay apart."""
    output, out, err = streams()
    output.name_ranks({0: "n", 10: "node2"})
    output.printed(0, "a\nb\n", err=False)
    output.printed(10, "c\n", err=True)
    assert out.getvalue() == "[n:0]      a\n[n:0]      b\n"
    assert err.getvalue() == "[node2:10] c\n"


def test_a_world_of_one_has_no_prefix() -> None:
    """Its output is its own, prompts without a newline included."""
    output, out, _ = streams()
    output.name_ranks({0: "n"})
    output.printed(0, "a\n", err=False)
    output.printed(0, "prompt> ", err=False)
    assert out.getvalue() == "a\nprompt> "


def test_a_limit_of_files_is_told_with_what_to_do() -> None:
    """Of a rank that could not be started for it, and of one that raised."""
    said = "[Errno 24] Too many open files"
    could_not = Verdict("start", 0, "n", 126, message=said)
    raised = Verdict("exception", 0, "n", 1, exception=Failure("OSError", said, "Traceback"))
    assert all("ulimit -n" in verdict_lines(one)[-1] for one in (could_not, raised))


def test_quiet_and_verbose() -> None:
    """--quiet leaves errors and blocks, --verbose adds details."""
    for options, expected in (
        ({}, "plaunch: said\nplaunch: wrong\nblock\n"),
        ({"quiet": True}, "plaunch: wrong\nblock\n"),
        ({"verbose": True}, "plaunch: said\nplaunch: detail\nplaunch: wrong\nblock\n"),
    ):
        output, _, err = streams(**options)
        output.say("said")
        output.detail("detail")
        output.error("wrong")
        output.block(["block"])
        assert err.getvalue() == expected


def test_bars_and_colour_only_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first rank's bar is the last line of a terminal and gives way to every other line."""
    for name, value in {"NO_COLOR": "", "FORCE_COLOR": "", "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)
    out, err = Terminal(), Terminal()
    output = Output(out, err)
    output.name_ranks({0: "n", 1: "n"})
    output.printed(0, "\r10%", err=True)
    output.printed(1, "\rnever shown", err=True)
    output.say("word")
    assert "10%\r\033[Kplaunch: word\n" in err.getvalue()
    assert "never shown" not in err.getvalue()
    output.printed(1, "x\n", err=False)
    assert out.getvalue() == coloured("[n:1]", PALETTE[1]) + " x\n"
    plain, out2, err2 = streams()
    plain.name_ranks({0: "n", 1: "n"})
    plain.printed(0, "\r10%", err=True)
    assert out2.getvalue() + err2.getvalue() == ""
    plain.ended(0)
    assert err2.getvalue() == "[n:0] 10%\n"


@pytest.mark.parametrize("ranks", [1, 2])
def test_our_words_begin_a_line(tmp_path: Any, ranks: int) -> None:
    """Where both streams go to one place, an unfinished line of a rank ends before our words."""
    with (tmp_path / "both").open("w") as file:
        output = Output(file, file)
        output.name_ranks(dict.fromkeys(range(ranks), "n"))
        output.printed(0, "epoch 1 ..", err=False)
        for one in output._ranks.values():
            one.tick(float("inf"))  # as if it had waited
        output.say("word")
        output.printed(0, " done\n", err=False)
        output.say("again")
    prefix = "[n:0] " if ranks > 1 else ""
    rest = f"{prefix} done"
    expected = f"{prefix}epoch 1 ..\nplaunch: word\n{rest}\nplaunch: again\n"
    assert (tmp_path / "both").read_text() == expected


def test_bytes_that_are_no_text_are_written_back(tmp_path: Any) -> None:
    """A file gets the very bytes that the rank wrote."""
    with (tmp_path / "out").open("w") as file:
        Output(file, io.StringIO()).printed(0, "\udcff é\n", err=False)
    assert (tmp_path / "out").read_bytes() == b"\xff " + "é\n".encode()


@pytest.mark.parametrize("how", ["reader gone", "full disk", "closed"])
def test_one_broken_stream_leaves_the_other(how: str) -> None:
    """Standard output may go away; words on standard error still come, and nothing raises."""
    if how == "reader gone":
        read, write = os.pipe()
        os.close(read)
        out = os.fdopen(write, "w")
    else:
        out = open("/dev/full", "w")  # noqa: SIM115 - closed below
    if how == "closed":
        out.close()
    err = io.StringIO()
    output = Output(out, err)
    for _ in range(3):
        output.raw("lost\n", err=False)
        output.error("kept")
    assert err.getvalue() == "plaunch: kept\n" * 3
    out.close()  # nothing is left in its buffer that could still fail


@pytest.mark.parametrize(
    ("ranks", "words"),
    [([], ""), ([3], "3"), ([0, 1, 2, 5], "0-2, 5"), ([7, 5, 6, 1], "1, 5-7")],
)
def test_ranks_are_folded(ranks: list[int], words: str) -> None:
    """Runs of numbers, in order."""
    assert ranks_in_words(ranks) == words


def test_table() -> None:
    """Columns as wide as their widest cell, no blanks at the end."""
    rows = [("NODE", "WHAT"), ("a", "x"), ("long-name", "")]
    assert table(rows) == ["  NODE       WHAT", "  a          x", "  long-name"]


TRACE = 'Traceback (most recent call last):\n  File "t.py", line 3, in f\nValueError: bad\nbatch\n'


@pytest.mark.parametrize(
    ("verdict", "text"),
    [
        (
            Verdict("exception", 3, "n1", 1, exception=Failure("ValueError", "bad\nbatch", TRACE),
                    victims=(0, 1, 2, 7), step=12, last_lines=("not shown",)),
            """\
plaunch: rank 3 on n1 failed first at step 12: ValueError: bad
  Traceback (most recent call last):
    File "t.py", line 3, in f
  ValueError: bad
  batch
  ranks 0-2, 7: ended because of it""",
        ),
        (
            Verdict("signal", 0, "n", 139, signal="SIGSEGV", last_lines=("a", "b"), victims=(1,)),
            """\
plaunch: rank 0 on n failed first: killed by signal SIGSEGV
  its last lines:
  | a
  | b
  rank 1: ended because of it""",
        ),
        (
            Verdict("oom", 0, "n", 137, signal="SIGKILL"),
            "plaunch: rank 0 on n failed first: killed by the kernel: "
            "the machine ran out of memory",
        ),
        (
            Verdict("exit", 0, "n", 3, message="no rank failed on its own account"),
            "plaunch: rank 0 on n failed first: exit code 3\n  no rank failed on its own account",
        ),
        (
            Verdict("lost_node", None, "n2", 1, message="no word from it for 10 s", victims=(4, 5)),
            """\
plaunch: node n2 failed first: the node was lost: no word from it for 10 s
  ranks 4-5: ended because of it""",
        ),
        (
            Verdict("exit", 2, "n1", 3, ranks=(0, 1, 2), last_step=7, victims=(3,)),
            """\
plaunch: ranks 0-2 failed first (step 7 was the last reported): exit code 3
  the same on each; the first was rank 2 on n1
  rank 3: ended because of it""",
        ),
        (
            Verdict("signal", 0, "n", 139, signal="SIGSEGV", last_lines=("a",), ranks=(0,),
                    stack='Fatal Python error: Segmentation fault\n  File "t.py", line 3 in f'),
            """\
plaunch: rank 0 on n failed first: killed by signal SIGSEGV
  Fatal Python error: Segmentation fault
    File "t.py", line 3 in f
  its last line:
  | a""",
        ),
        (Verdict("hang", None, "n", 124, message="too long"), "plaunch: too long"),
        (
            Verdict("start", 0, "n", 127, message="no such program"),
            "plaunch: rank 0 on n failed first: no such program",
        ),
    ],
    ids=lambda value: value.kind if isinstance(value, Verdict) else "",
)  # fmt: skip
def test_the_block_of_a_verdict(verdict: Verdict, text: str) -> None:
    """To the letter: who, of what, the traceback or the last lines, the victims."""
    assert "\n".join(verdict_lines(verdict)) == text


def test_the_end_of_a_run() -> None:
    """State, time, size, what rank 0 gave, the folder."""
    ranks = (RankResult(0, 0, "n", 0, {"loss": 0.123456, "test_acc": 0.97, "deep": [1]}),)
    node = {"name": "n", "address": "a", "gpus": []}
    result = Result("j", "succeeded", 0, 2, 0, 1, 12.34, (node,), ranks, None, "/run")
    lines = result_lines(result)
    assert lines[0] == "plaunch: succeeded in 12.3 s (1 rank on 1 node, 2 attempts)"
    assert lines[1] == "  test_acc=0.97  loss=0.1235"
    assert lines[-1] == "  /run"


@pytest.mark.parametrize(
    ("told", "line"),
    [
        ({"best_model_path": "/b", "last_model_path": "/l", "monitor": "val_loss"},
         "best checkpoint (val_loss): /b"),
        ({"best_model_path": "/b", "last_model_path": None, "monitor": None},
         "last checkpoint: /b"),
        ({"best_model_path": None, "last_model_path": "/l"}, "last checkpoint: /l"),
        ({"best_model_path": None, "last_model_path": None}, None),
    ],
)  # fmt: skip
def test_a_checkpoint_is_the_best_of_what_is_monitored(
    told: dict[str, Any], line: str | None
) -> None:
    """Without a monitor the one that is kept is only the last."""
    lines = value_lines({"engine": told})
    assert lines == ([] if line is None else [line])


def test_a_loss_that_is_no_number_is_said_beside_the_state() -> None:
    """Whatever the message is."""
    result = Result("j", "succeeded", 0, 1, 0, 1, 1.0, (), (), None, "/run", message="loss is nan")
    assert result_lines(result)[0].endswith("; loss is nan")


@pytest.mark.parametrize(
    ("message", "hint"),
    [
        ("No module named 'pytorch_lightning'", "plaunch --compat pytorch_lightning ..."),
        ("No module named 'lightning.pytorch'", "plaunch --compat lightning ..."),
        ("No module named 'lightning_lite'", None),
        ("No module named 'numpy'", None),
    ],
)
def test_code_for_lightning_is_told_what_runs_it(message: str, hint: str | None) -> None:
    """The way to run it on engine, after the traceback; for other modules nothing is guessed."""
    trace = f"Traceback (most recent call last):\nModuleNotFoundError: {message}\n"
    failure = Failure("ModuleNotFoundError", message, trace)
    lines = verdict_lines(Verdict("exception", 0, "n1", 1, exception=failure))

    assert ("--compat" in lines[-1]) == (hint is not None)
    assert hint is None or lines[-1].endswith(hint)


def test_a_process_without_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is started by `<&- >&- 2>&-`: nothing is said, and nothing breaks."""
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    output = Output()
    output.say("a line")
    output.stdout("an answer")
