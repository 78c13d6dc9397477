"""Words and variables reach the program as they are, and secrets stay out of sight."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.launcher.support.runs import Launcher, carriers

NASTY = [
    "a b", "", "it's", '"quoted"', "$(touch pwned)", "`touch pwned`", "; touch pwned", "new\nline",
    "tab\t", "*", "~", "\\", "ünïcode ✓", "--flag=x y", "-m", "--", "&& false", "${HOME}", "%s {x}",
]  # fmt: skip
SHOW = "import json, sys\nfrom launcher import report\nreport(sys.argv[1:])\n"


@pytest.mark.parametrize("form", ["script", "module", "warm"])
def test_words_arrive_intact(plaunch: Launcher, form: str) -> None:
    """Spaces, quotes, newlines and shell syntax reach a script and a module."""
    plaunch.write("show me.py", SHOW)
    plaunch.write("pack/age.py", SHOW)
    start = "warm" if form == "warm" else "cold"
    what = ["-m", "pack.age"] if form == "module" else ["show me.py"]
    done = plaunch("--start", start, *what, *NASTY).ok()
    assert done.values == [NASTY]
    assert done.run_dir is not None
    assert json.loads((done.run_dir / "job.json").read_text())["args"] == NASTY
    assert not (plaunch.folder / "pwned").exists()


def test_words_of_a_program_arrive_intact(plaunch: Launcher) -> None:
    """Any program gets its words as they are, and no shell looks at them."""
    done = plaunch("--no-python", "printf", "<%s>", *NASTY).ok()
    assert done.out == "".join(f"<{word}>" for word in NASTY)
    assert not (plaunch.folder / "pwned").exists()


def test_two_dashes_end_the_options(plaunch: Launcher) -> None:
    """A first ``--`` after the script is passed on or swallowed as with python: never more."""
    plaunch.write("show.py", SHOW)
    assert plaunch("--start", "cold", "show.py", "--nodes", "7", "--help").ok().values == [
        ["--nodes", "7", "--help"]
    ]
    assert plaunch("--start", "cold", "show.py", "a", "--", "b").ok().values == [["a", "--", "b"]]


def test_variables_by_name_and_by_value(plaunch: Launcher) -> None:
    """``--env NAME`` takes ours, ``NAME=VALUE`` sets one, with any text in it, for every rank."""
    plaunch.write(
        "show.py",
        """
        import os
        from launcher import report
        report({name: os.environ.get(name) for name in ("OURS", "SET", "EMPTY", "INHERITED")})
        """,
    )
    values = {"OURS": "from outside $(x)", "INHERITED": "also here"}
    words = ["--env", "OURS", "--env", "SET=a=b 'c'\n; d", "--env", "EMPTY="]
    for start in ("warm", "cold"):
        done = plaunch("--start", start, *words, "--procs", "2", "show.py", env=values).ok()
        expected = {**values, "SET": "a=b 'c'\n; d", "EMPTY": ""}
        assert done.values == [expected, expected]


def test_variables_that_are_wrong(plaunch: Launcher) -> None:
    """A name that is none, or is not set here, is a usage error in one line."""
    for entry in ("1X=2", "NOT_SET_ANYWHERE", "A B=1", "=x"):
        done = plaunch("--env", entry, "show.py")
        assert done.code == 2
        assert done.err.count("\n") == 1, done.err
        assert entry.partition("=")[0] in done.err


def test_no_secret_is_seen(plaunch: Launcher) -> None:
    """A value of the environment is in no process's words, no file of the run, no output."""
    secret = "hunter2-" + os.urandom(8).hex()
    plaunch.write(
        "wait.py",
        """
        import os, sys, time
        assert os.environ["TOP"].startswith("hunter2") and os.environ["NEXT"] == os.environ["TOP"]
        open(f"ready{os.environ['RANK']}", "w").close()
        while not os.path.exists("go"): time.sleep(0.01)
        sys.exit(3)
        """,
    )
    run = plaunch.start(
        "--verbose", "--start", "cold", "--nodes", "2", "--env", "TOP", "--env", "NEXT", "wait.py",
        env={"TOP": secret, "NEXT": secret},
    )  # fmt: skip
    run.until_file("ready0", "ready1")
    words = [Path("/proc", str(pid), "cmdline").read_bytes() for pid in carriers(run.token)]
    assert len(words) >= 7  # launcher, two guards, two agents, two ranks
    assert not [line for line in words if secret.encode() in line]
    (plaunch.folder / "go").touch()
    done = run.wait()
    assert done.code == 3
    assert secret not in done.out + done.err
    for path in plaunch.folder.rglob("*"):
        if path.is_file():
            assert secret.encode() not in path.read_bytes(), path
    assert done.run_dir is not None
    assert json.loads((done.run_dir / "job.json").read_text())["env"] == ["NEXT", "TOP"]
