"""Preemption without our launcher, and beside what a program does with signals itself."""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.runtime.storage.checkpoint import read
from tests.engine.support.preempted import ends, environment, whole, words, write
from tests.launcher.support.runs import carriers, until
from tests.support import forkserver
from tests.support.forkserver import Program

DEADLINE_S = 90


@pytest.fixture
def start(tmp_path) -> Iterator:
    """Start ``python WORDS`` in the test's folder; no process of it is left at the end."""
    programs: list[Program] = []
    token = f"RUN_TOKEN_{secrets.token_hex(8)}"

    def begin(words: list[str]) -> Program:
        env = {**environment(), token: "1"}
        programs.append(forkserver.shared().start(words, cwd=tmp_path, env=env))
        return programs[-1]

    yield begin
    for pid in carriers(token):
        os.kill(pid, signal.SIGKILL)
    for program in programs:
        program.wait(DEADLINE_S)


def at(folder: Path, name: str) -> int:
    """The process that waits at a place, once it is there."""
    return int(until(lambda: (folder / name).exists() and (folder / name).read_text(), name))


def end(program: Program) -> tuple[int, str]:
    """The exit code, and all that was said."""
    output = "".join(program.communicate(timeout=DEADLINE_S))
    return program.wait(), output


def alone(folder: Path, **options: object) -> list[str]:
    """The program and its arguments."""
    return [str(write(folder)), *words(**options)]


def preempted_files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("preempted-step=*.ckpt"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2])
def test_a_plain_program(tmp_path, start, number):
    """It saves beside its checkpoints, says how to go on, ends with 75, and goes on exactly."""
    process = start(alone(tmp_path, cuts=[7]))
    at(tmp_path, "step-7-0")
    process.send_signal(number)
    code, output = end(process)
    assert code == 75, output
    [path] = preempted_files(tmp_path)
    assert f"{number.name}: stopped at step 8 and saved {path}; to go on, fit with this" in output
    assert read(path)["global_step"] == 8
    assert (tmp_path / "exception-0").read_text() == "Preempted"
    code, output = end(start(alone(tmp_path, cuts=[7], ckpt_path=str(path))))
    assert code == 0, output
    [found] = ends(tmp_path)
    assert found["began"] == 8
    assert found["weights"] == whole(1).ends[0]["weights"]


def test_more_signals_while_it_saves_and_ends(tmp_path, start):
    """A scheduler sends the next one meanwhile: the file is whole, the exit code is 75."""
    more = [signal.SIGUSR2, signal.SIGTERM, signal.SIGTERM, signal.SIGUSR1]
    process = start(alone(tmp_path, cuts=[3], signals_while_saving=more))
    at(tmp_path, "step-3-0")
    process.send_signal(signal.SIGUSR2)
    code, output = end(process)
    assert code == 75, output
    [path] = preempted_files(tmp_path)
    assert read(path)["global_step"] == 4


KEEPS_NOTHING = {"enable_checkpointing": False, "callbacks": []}


@pytest.mark.parametrize("options", [{"fast_dev_run": 50}, KEEPS_NOTHING])
def test_a_program_that_keeps_nothing_is_ended_as_ever(tmp_path, start, options):
    """Without checkpoints, and without a launcher that runs it again, a signal is what it was."""
    process = start(alone(tmp_path, slow=0.05, count=4000, trainer=options))
    until(lambda: (tmp_path / "seen-0").exists(), "it trains")
    process.send_signal(signal.SIGTERM)
    code, output = end(process)
    assert code == -signal.SIGTERM, output
    assert not preempted_files(tmp_path)


OWN = """
import faulthandler, json, multiprocessing, os, signal, sys, time

def mine(number, frame):
    open("heard", "a").write(signal.Signals(number).name)

def child():
    open("child", "w").close()
    time.sleep(600)

signal.signal(signal.SIGUSR2, mine)
faulthandler.register(signal.SIGUSR1, file=open("stacks", "w"))
program = open("train.py").read()
exec(program[:program.rindex("if __name__")])

class Net(Net):
    def on_train_start(self):
        # A process that the program forks and ends by itself.
        process = multiprocessing.get_context("fork").Process(target=child)
        process.start()
        give_up = time.monotonic() + 30
        while not os.path.exists("child") and time.monotonic() < give_up: time.sleep(0.01)
        process.terminate()
        process.join(30)
        open("ended", "w").write(str(process.exitcode))

main()
"""


def test_a_program_with_signals_of_its_own(tmp_path, start):
    """Its function is called, too; faulthandler still shows the stacks, and processes that it has
    forked are ended by SIGTERM as ever.
    """
    write(tmp_path)
    (tmp_path / "own.py").write_text(OWN)
    process = start(["own.py", *words(cuts=[3])])
    at(tmp_path, "step-3-0")
    assert (tmp_path / "ended").read_text() == str(-signal.SIGTERM)
    process.send_signal(signal.SIGUSR1)
    until(lambda: "most recent call first" in (tmp_path / "stacks").read_text(), "the stacks")
    assert process.poll() is None
    process.send_signal(signal.SIGUSR2)
    code, output = end(process)
    assert code == 75, output
    assert "SIGUSR2: stopped at step 4" in output
    assert (tmp_path / "heard").read_text() == "SIGUSR2"
    assert preempted_files(tmp_path)


# ---------------------------------------------------------------------- torchrun


def torchrun(folder: Path, ranks: int, **options: object) -> list[str]:
    """The command that runs the program with torch's own launcher."""
    run = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    return [*run, str(write(folder)), *words(**options)]


def test_torchrun_is_told(tmp_path, start):
    """It hands SIGTERM to its ranks: they save together, and go on from there."""
    process = start(torchrun(tmp_path, 2, cuts=[3]))
    at(tmp_path, "step-3-0"), at(tmp_path, "step-3-1")
    process.send_signal(signal.SIGTERM)
    _, output = end(process)
    [path] = preempted_files(tmp_path)
    assert f"saved {path}" in output
    step = read(path)["global_step"]
    assert 4 <= step <= 5
    code, output = end(start(torchrun(tmp_path, 2, cuts=[3], ckpt_path=str(path))))
    assert code == 0, output
    assert [end["began"] for end in ends(tmp_path, 2)] == [step] * 2


def test_ranks_of_torchrun_are_told_one_by_one(tmp_path, start):
    """As by a batch system: with 75 from all of them torchrun has a failure, the step is saved."""
    process = start(torchrun(tmp_path, 2, cuts=[3]))
    pids = [at(tmp_path, f"step-3-{rank}") for rank in range(2)]
    os.kill(pids[1], signal.SIGUSR2)
    os.kill(pids[0], signal.SIGUSR1)
    code, output = end(process)
    assert code != 0
    assert "exitcode  : 75" in output
    [path] = preempted_files(tmp_path)
    assert 4 <= read(path)["global_step"] <= 5
