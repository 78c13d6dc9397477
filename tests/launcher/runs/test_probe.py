"""One program sees the same from a warm start, from a cold one, and under plain python."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.launcher.support.runs import Launcher, launcher_in

BESIDE = """
import os, torch.utils.data
NAME = os.path.basename(__file__)
class Numbers(torch.utils.data.Dataset):
    def __len__(self): return 8
    def __getitem__(self, index): return index
"""
WORDS = ["a word", "--flag"]
# What is of one run, or of one process, and so differs by intent.
OF_THE_RUN = re.compile(
    r"MASTER_PORT|PLAUNCH_\w+|RUN_TOKEN_\w+|TORCHELASTIC_(RUN_ID|ERROR_FILE)|OUT|_|LINES|COLUMNS"
)


@dataclass
class Sight:
    """What the processes of one kind of start saw, and how the first of them failed."""

    seen: list[dict[str, Any]]
    own: list[dict[str, Any]]
    traceback: str
    code: int


def under_python(folder: Path) -> Sight:
    env = {**os.environ, "OUT": "plain", "PYTHONUNBUFFERED": "1"}
    env.pop("OMP_NUM_THREADS", None)
    done = subprocess.run(
        [sys.executable, "-u", "probe.py", *WORDS],
        cwd=folder, env=env, capture_output=True, text=True, timeout=90, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    found = json.loads((folder / "plain").read_text())
    return Sight([found["seen"]], [found["own"]], done.stderr, done.returncode)


def under_plaunch(launcher: Launcher, start: str) -> Sight:
    folder = launcher.folder
    env = {"OUT": start, "PYTHONUNBUFFERED": "1"}
    done = launcher("--start", start, "--procs", "2", "probe.py", *WORDS, env=env)
    found = [json.loads((folder / f"{start}{rank}").read_text()) for rank in range(2)]
    assert done.run_dir is not None
    log = (done.run_dir / "logs" / f"rank{done.verdict['rank']}.log").read_text()
    told = log.partition("a line without flush\n")[2]
    return Sight([one["seen"] for one in found], [one["own"] for one in found], told, done.code)


@pytest.fixture(scope="module")
def sights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Sight]]:
    """The same program, started in three ways in the same folder."""
    with launcher_in(tmp_path_factory.mktemp("probe")) as launcher:
        shutil.copy(Path(__file__).with_name("probe_program.py"), launcher.folder / "probe.py")
        launcher.write("beside.py", BESIDE)
        found = {start: under_plaunch(launcher, start) for start in ("warm", "cold")}
        yield {**found, "plain": under_python(launcher.folder)}


def differences(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    return {
        key: (one.get(key), other.get(key))
        for key in sorted({*one, *other})
        if key != "env" and one.get(key) != other.get(key)
    }


def handled(rows: list[str]) -> dict[str, set[int]]:
    """The signals in each of the kernel's masks."""
    masks = [(name.rstrip(":"), int(mask, 16)) for name, mask in map(str.split, rows)]
    return {name: {n for n in range(1, 65) if mask >> (n - 1) & 1} for name, mask in masks}


def variables(seen: dict[str, Any]) -> dict[str, str]:
    return {k: v for k, v in seen["env"].items() if not OF_THE_RUN.fullmatch(k)}


@pytest.mark.parametrize("rank", [0, 1])
def test_warm_and_cold_see_the_same(sights: dict[str, Sight], rank: int) -> None:
    """Everything a program can see of its process, rank by rank."""
    warm, cold = sights["warm"].seen[rank], sights["cold"].seen[rank]
    finders = {*warm.pop("meta_path")} ^ {*cold.pop("meta_path")}
    assert finders <= {"DistutilsMetaFinder", "Watch"}  # torch's own, and ours that waits for torch
    assert differences(warm, cold) == {}
    assert variables(warm) == variables(cold)
    assert {
        re.sub("_[0-9a-f]{8}_", "_ID_", name) for name in warm["env"] if "OKEN" not in name
    } == {re.sub("_[0-9a-f]{8}_", "_ID_", name) for name in cold["env"] if "OKEN" not in name}


@pytest.mark.parametrize("start", ["warm", "cold"])
def test_as_under_plain_python(sights: dict[str, Sight], start: str) -> None:
    """The same as ``python -u`` sees, the number of threads and the session apart."""
    seen, plain = dict(sights[start].seen[0]), dict(sights["plain"].seen[0])
    mine, theirs = (handled(one.pop("kernel's view of signals")) for one in (seen, plain))
    # a crash prints its Python stack; signal.getsignal() says nothing of it
    crashes = {signal.SIGSEGV, signal.SIGFPE, signal.SIGABRT, signal.SIGBUS, signal.SIGILL}
    assert mine["SigCgt"] - theirs["SigCgt"] == crashes
    assert [mine[name] for name in ("SigIgn", "SigBlk")] == [
        theirs[name] for name in ("SigIgn", "SigBlk")
    ]
    apart = {"torch's threads", "tasks after work", "leads its session", "kinds", "meta_path"}
    assert set(differences(seen, plain)) <= apart
    changed = {
        name
        for name, value in plain["env"].items()
        if seen["env"].get(name) != value and not OF_THE_RUN.fullmatch(name)
    }
    assert changed == set()


@pytest.mark.parametrize("start", ["warm", "cold"])
def test_what_a_rank_must_see(sights: dict[str, Sight], start: str) -> None:
    """Single facts that hold for every start, so that two wrongs do not agree."""
    for rank, seen in enumerate(sights[start].seen):
        assert seen["modules of ours"] == seen["user's own modules"] == []
        assert seen["main"]["__name__"] == "'__main__'"
        assert seen["main"]["__file__"].endswith("/probe.py'")
        assert seen["main"]["__spec__"] == "None"
        assert seen["main is ours"]
        assert seen["argv"] == ["probe.py", *WORDS]
        assert seen["orig_argv"] == ["-u", "probe.py", *WORDS]
        assert seen["beside"] == "beside.py"
        assert seen["descriptors"][:3] == [0, 1, 2]
        assert len(seen["descriptors"]) == 3
        assert (seen["tasks at start"], seen["threads at start"]) == (1, 1)
        assert seen["leads its session"]
        assert seen["mask"] == []
        assert seen["signals"]["SIGINT"].startswith("<built-in function default_int_handler")
        assert seen["signals"]["SIGTERM"] == "0"
        assert seen["stdin"] == ""
        cores = len(seen["affinity"])
        assert seen["env"]["OMP_NUM_THREADS"] == str(max(1, cores // 2))
        assert seen["torch's threads"][0] == max(1, cores // 2)
        assert (seen["env"]["RANK"], seen["env"]["LOCAL_RANK"]) == (str(rank), str(rank))
        assert seen["process"] == ["MainProcess", 32, True, None]
        for method in ("fork", "spawn") if rank == 0 else ():
            assert seen[f"loader by {method}"] == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_random_state_is_everyones_own(sights: dict[str, Sight]) -> None:
    """No two ranks of any start share the state of random, numpy, torch, or the authkey."""
    everyone = [own for sight in sights.values() for own in sight.own]
    for name in ("random", "numpy", "torch", "authkey"):
        assert len({own[name] for own in everyone}) == len(everyone), name


@pytest.mark.parametrize("start", ["warm", "cold"])
def test_the_end_is_pythons_own(sights: dict[str, Sight], start: str) -> None:
    """The traceback to the letter as python prints it, and exit code 1."""
    assert sights[start].traceback == sights["plain"].traceback
    assert sights[start].code == sights["plain"].code == 1


def test_atexit_and_threads_are_run(plaunch: Launcher) -> None:
    """A rank ends as an interpreter does: threads are waited for, then atexit, buffers flushed."""
    plaunch.write(
        "main.py",
        """
        import atexit, sys, threading, time
        atexit.register(lambda: print("by atexit"))
        threading.Thread(target=lambda: (time.sleep(0.3), print("by a thread"))).start()
        sys.stdout.write("unfinished, ")
        sys.exit(4)
        """,
    )
    for start in ("warm", "cold"):
        done = plaunch("--start", start, "main.py")
        assert (done.code, done.out) == (4, "unfinished, by a thread\nby atexit\n"), start


def test_a_line_appears_at_once(plaunch: Launcher) -> None:
    """Output is not held back until the rank ends, though it goes to a pipe."""
    plaunch.write(
        "main.py",
        """
        import os, time
        print("now")
        while not os.path.exists("go"): time.sleep(0.01)
        """,
    )
    for start in ("warm", "cold"):
        run = plaunch.start("--start", start, "--procs", "2", "main.py")
        run.until(lambda run=run: run.out.count("now\n") == 2, "both lines are there")
        (plaunch.folder / "go").touch()
        run.wait().ok()
        (plaunch.folder / "go").unlink()
