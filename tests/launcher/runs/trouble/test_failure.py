"""Failure: how a rank can end, and what the verdict says of it."""

from __future__ import annotations

import os
import signal

import pytest

from tests.launcher.support.runs import Done, Launcher

MAIN = """
import os, signal, sys, threading, time, atexit
kind, rank = sys.argv[1], int(os.environ["RANK"])
if rank != 1:
    if kind == "peers go on":
        import pathlib
        while not pathlib.Path("rank1-ended").exists(): time.sleep(0.02)
        sys.exit(0)
    time.sleep(600)
print("last words of", rank, flush=True)
print("to standard error", file=sys.stderr, flush=True)
class Stuck:
    def __del__(self): time.sleep(600)
def raises():
    raise RuntimeError("a " + kind)
if kind == "exception": raises()
elif kind == "os._exit": os._exit(3)
elif kind == "segfault":
    import ctypes
    ctypes.string_at(0)
elif kind == "sigkill": os.kill(os.getpid(), signal.SIGKILL)
elif kind == "sys.exit": sys.exit(5)
elif kind == "text": sys.exit("a reason in words")
elif kind == "abort": os.abort()
elif kind == "import": import no_such_module
elif kind == "atexit":
    def late(): os._exit(9)
    atexit.register(late)
elif kind == "thread":
    threading.Thread(target=time.sleep, args=(600,)).start()
    raises()
elif kind == "destructor":
    keep = Stuck()
    raises()
elif kind == "interrupted":
    class Interrupted(Exception):
        interruptions = 1
        def __str__(self):  # as if a signal's handler raised while the exception is described
            if Interrupted.interruptions:
                Interrupted.interruptions -= 1
                raise OSError("a handler of a signal")
            return "described at the second try"
    raise Interrupted()
elif kind == "cause":
    try: raises()
    except RuntimeError as error: raise KeyError("outer") from error
"""


def fail(plaunch: Launcher, kind: str, *options: str, start: str = "cold") -> Done:
    plaunch.write("main.py", MAIN)
    return plaunch("--start", start, "--procs", "2", *options, "main.py", kind)


@pytest.mark.parametrize(
    ("kind", "code", "verdict_kind", "signal_name"),
    [
        ("os._exit", 3, "exit", None),
        ("segfault", 128 + signal.SIGSEGV, "signal", "SIGSEGV"),
        ("sigkill", 128 + signal.SIGKILL, "signal", "SIGKILL"),
        ("sys.exit", 5, "exit", None),
        ("atexit", 9, "exit", None),
        ("abort", 128 + signal.SIGABRT, "signal", "SIGABRT"),
    ],
)
def test_ends_without_an_exception(
    plaunch: Launcher, kind: str, code: int, verdict_kind: str, signal_name: str | None
) -> None:
    """The rank's own code, its signal by name, the last lines of both streams, the victims."""
    done = fail(plaunch, kind)
    assert done.code == code
    assert done.result is not None
    assert (done.result["state"], done.result["exit_code"]) == ("failed", code)
    verdict = done.verdict
    assert (verdict["kind"], verdict["rank"]) == (verdict_kind, 1)
    assert (verdict["signal"], verdict["exit_code"]) == (signal_name, code)
    assert verdict["node"] == os.uname().nodename
    assert verdict["exception"] is None
    assert "last words of 1" in verdict["last_lines"]
    assert "to standard error" in verdict["last_lines"]
    assert verdict["victims"] == [0]
    assert f"plaunch: rank 1 on {os.uname().nodename} failed first" in done.err
    assert [rank["exit_code"] for rank in done.result["ranks"]] == [137, code]


@pytest.mark.parametrize("start", ["warm", "cold"])
def test_an_exception_is_told_with_its_traceback(plaunch: Launcher, start: str) -> None:
    """Type, message and the program's own frames, also from a warm start; none of ours."""
    done = fail(plaunch, "exception", start=start)
    assert done.code == 1
    exception = done.verdict["exception"]
    assert (exception["type"], exception["message"]) == ("RuntimeError", "a exception")
    assert 'main.py", line 15, in raises' in exception["traceback"]
    assert "<plaunch>" not in exception["traceback"] + done.err
    assert done.verdict["kind"] == "exception"


@pytest.mark.parametrize("kind", ["thread", "destructor"])
def test_a_rank_that_raises_and_then_hangs_is_ended(plaunch: Launcher, kind: str) -> None:
    """A thread or a destructor that never ends does not hold the verdict, nor change it."""
    done = fail(plaunch, kind)
    assert done.code == 1
    assert (done.verdict["kind"], done.verdict["rank"]) == ("exception", 1)
    assert done.verdict["exception"]["message"] == f"a {kind}"


def test_causes_missing_modules_and_words(plaunch: Launcher) -> None:
    """A chain of causes is in the traceback; ImportError is an exception; words are last lines."""
    chained = fail(plaunch, "cause").verdict["exception"]
    assert chained["type"] == "KeyError"
    assert "RuntimeError: a cause" in chained["traceback"]
    missing = fail(plaunch, "import").verdict
    assert missing["exception"]["type"] == "ModuleNotFoundError"
    assert "no_such_module" in missing["exception"]["message"]
    words = fail(plaunch, "text")
    assert words.code == 1
    assert words.verdict["kind"] == "exit"
    assert words.verdict["last_lines"][-1] == "a reason in words"


def test_an_exception_is_told_although_something_interrupts_that(plaunch: Launcher) -> None:
    """What a signal's handler raises in the middle of telling does not lose the exception."""
    done = fail(plaunch, "interrupted")

    assert done.verdict["kind"] == "exception"
    assert done.verdict["exception"]["message"] == "described at the second try"


CRASHES = """
import faulthandler, os, sys
print("enabled:", faulthandler.is_enabled(), flush=True)
if sys.argv[1] == "own": faulthandler.enable(open("mine", "w"))
elif sys.argv[1] == "off": faulthandler.disable()
def inner():
    import ctypes
    ctypes.string_at(0)
inner()
"""


@pytest.mark.parametrize(
    ("start", "words", "env", "enabled", "shown"),
    [
        ("warm", "", {}, True, True),
        ("cold", "", {}, True, True),
        ("cold", "own", {}, True, False),
        ("cold", "off", {}, True, False),
        ("cold", "", {"PYTHONFAULTHANDLER": ""}, False, False),
        ("warm", "", {"PYTHONFAULTHANDLER": "1"}, True, True),
    ],
)
def test_a_crash_shows_its_python_stack(
    plaunch: Launcher, start: str, words: str, env: dict[str, str], enabled: bool, shown: bool
) -> None:
    """Unless the program or its environment has said what faulthandler shall do."""
    plaunch.write("main.py", CRASHES)
    done = plaunch("--start", start, "main.py", words, env=env)
    assert done.code == 128 + signal.SIGSEGV
    assert f"enabled: {enabled}" in done.out
    assert ('main.py", line 8 in inner' in done.verdict["stack"]) is shown
    assert ("<plaunch>" in done.verdict["stack"]) is False
    assert done.verdict["last_lines"] == [f"enabled: {enabled}"]
    if shown:
        assert done.err.count("Fatal Python error") == 2  # the rank's own words, and the verdict
    if words == "own":
        assert "line 8 in inner" in (plaunch.folder / "mine").read_text()


@pytest.mark.parametrize("start", ["warm", "cold"])
def test_a_syntax_error(plaunch: Launcher, start: str) -> None:
    """The line and its number are told, as python itself prints them."""
    plaunch.write("main.py", "x = 1\ny = = 2\n")
    done = plaunch("--start", start, "--procs", "2", "main.py")
    assert done.code == 1
    assert done.verdict["kind"] == "exception"
    assert done.verdict["exception"]["type"] == "SyntaxError"
    assert "line 2" in done.verdict["exception"]["traceback"]
    assert "y = = 2" in done.verdict["exception"]["traceback"]
    assert "<plaunch>" not in done.err


def test_a_missing_script_is_a_usage_error(plaunch: Launcher) -> None:
    """One line that names it; nothing is started and no folder is made."""
    done = plaunch("missing.py")
    assert done.code == 2
    assert done.err.count("\n") == 1
    assert "script not found: missing.py" in done.err
    assert not (plaunch.folder / "plaunch_runs").exists()


def test_a_missing_program_and_module(plaunch: Launcher) -> None:
    """A program that is nowhere is told by node; a missing module as python tells it."""
    done = plaunch("--nodes", "2", "--no-python", "no-such-program")
    assert done.code == 3
    assert "program not found: no-such-program" in done.err
    assert "local0" in done.err
    done = plaunch("--start", "cold", "-m", "no_such_module")
    assert done.code == 1
    assert "No module named no_such_module" in done.err


def test_a_rank_may_end_before_the_others(plaunch: Launcher) -> None:
    """Code 0 of one rank while others go on is no failure."""
    plaunch.write(
        "main.py",
        """
        import os, time
        if os.environ["RANK"] == "1":
            open("pid1", "w").write(str(os.getpid()))
        else:
            while not os.path.exists("pid1"): time.sleep(0.01)
            pid = open("pid1").read()
            while os.path.exists(f"/proc/{pid}"): time.sleep(0.01)
            time.sleep(0.2)
            print("went on alone", flush=True)
        """,
    )
    done = plaunch("--start", "cold", "--procs", "2", "main.py").ok()
    assert "went on alone" in done.out


def test_a_death_ends_every_node_and_the_log_has_all(plaunch: Launcher) -> None:
    """With two nodes the victims on the other one end too; each rank has one log file."""
    plaunch.write("main.py", MAIN)
    done = plaunch("--start", "cold", "--nodes", "2", "--procs", "2", "main.py", "os._exit")
    assert done.code == 3
    assert (done.verdict["node"], done.verdict["rank"]) == ("local0", 1)
    assert done.verdict["victims"] == [0, 2, 3]
    assert done.run_dir is not None
    logs = {path.name: path.read_text() for path in (done.run_dir / "logs").iterdir()}
    assert logs["rank1.log"] == "last words of 1\nto standard error\n"
