"""DataLoader workers get a job's signals, too: they go on, and yet never outlive their rank."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.support.preempted import alone, ends, environment, words, write
from tests.launcher.support.runs import Launcher, alive, launcher_in, until
from tests.support import forkserver

DEADLINE_S = 90
GONE_S = 60  # torch's workers look every 5 s whether their parent is there

KINDS = {
    "fork": {"num_workers": 2, "multiprocessing_context": "fork"},
    "spawn": {"num_workers": 1, "multiprocessing_context": "spawn"},
    "forkserver": {"num_workers": 1, "multiprocessing_context": "forkserver"},
    "persistent": {
        "num_workers": 1,
        "multiprocessing_context": "fork",
        "persistent_workers": True,
    },
}


@pytest.fixture
def plaunch(tmp_path) -> Iterator[Launcher]:
    """The ``plaunch`` command in a folder of its own, with the program in it."""
    write(tmp_path)
    with launcher_in(tmp_path) as launcher:
        yield launcher


def children(pid: int) -> list[int]:
    """All processes below one."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += [int(child), *children(int(child))]
    return found


def test_every_process_of_a_job_is_signalled(plaunch):
    """As a batch system does: ranks and workers get several signals each, in any order. The ranks
    still take batches of their workers, save, end with 75, and go on later.
    """
    draw = random.Random(1)
    for kind, workers in KINDS.items():
        for left in plaunch.folder.glob("*-0"):
            left.unlink()
        options = {"cuts": [5], "workers": workers, "trainer": {"max_epochs": 1}}
        run = plaunch.start("--run-dir", kind, "train.py", *words(**options))
        (pid,) = map(int, run.until_file("step-5-0"))
        job = [*children(pid), pid]
        assert len(job) > 1
        sent = [(process, number) for process in job for number in (signal.SIGTERM, signal.SIGUSR2)]
        for process, number in draw.sample(sent, len(sent)):
            os.kill(process, number)
        done = run.wait()
        assert done.code == 75, (kind, done.err)
        assert "stopped at step 6" in done.err
        assert "killed by signal" not in done.err + done.out
        run.nothing_left()
    plaunch("--run-dir", kind, "train.py", *words(**options)).ok()
    assert ends(plaunch.folder)[0]["began"] == 6


STORM = """
import os, signal, subprocess, sys, time
from torch.utils.data import DataLoader
from engine.runtime.coordination import signals
from engine.runtime.data import workers
import preempted_data
from preempted_data import Data

def all_below(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return list(map(int, file.read().split()))

if __name__ == "__main__":
    kind = sys.argv[1]
    storm = subprocess.Popen([sys.executable, "storm.py", str(os.getpid())])
    with signals.listening(True):
        while not os.path.exists("storming"): time.sleep(0.01)
        for _ in range(int(sys.argv[2])):
            own = preempted_data.note_own
            loader = DataLoader(Data(), 2, num_workers=2, multiprocessing_context=kind,
                                worker_init_fn=own)
            assert [len(batch) for batch in workers.begin(loader)] == [2] * 6
            assert loader.worker_init_fn is own
        storm.kill()
        storm.wait()
        assert signals.preemption.signal
    print("done", flush=True)
"""
STORM_DATA = """
import os, subprocess
class Data:
    def __len__(self): return 12
    def __getitem__(self, index):
        if index == 5:  # what a worker starts can be ended by SIGTERM as ever
            child = subprocess.Popen(["sleep", "600"])
            child.terminate()
            assert child.wait(30) == -15
        return index
def note_own(worker_id):
    open(f"own-{worker_id}", "w").close()
"""
# Sends signals to every child of a process, as fast as it can.
STORMING = """
import os, signal, sys
parent = int(sys.argv[1])
open("storming", "w").close()
while True:
    try:
        with open(f"/proc/{parent}/task/{parent}/children") as file:
            pids = [int(pid) for pid in file.read().split()]
    except OSError:
        break
    for pid in pids:
        try:
            words = open(f"/proc/{pid}/cmdline").read()
            if pid != os.getpid() and "resource_tracker" not in words:
                for number in (signal.SIGUSR2, signal.SIGTERM, signal.SIGUSR1): os.kill(pid, number)
        except OSError:
            pass
    os.kill(parent, signal.SIGUSR2)
"""


@pytest.mark.parametrize(("kind", "times"), [("fork", 15), ("spawn", 2)])
def test_from_the_first_moment_of_a_worker_on(tmp_path, kind, times):
    """Signals rain on workers while they are made: none ends, the user's own function is called,
    and programs that they start have nothing of it.
    """
    for name, text in {
        "main.py": STORM,
        "preempted_data.py": STORM_DATA,
        "storm.py": STORMING,
    }.items():
        (tmp_path / name).write_text(text)
    root = str(Path(__file__).parents[4])
    done = forkserver.shared().run(
        ["main.py", kind, str(times)],
        timeout=DEADLINE_S,
        cwd=tmp_path,
        env={**environment(), "PYTHONPATH": root},
    )
    assert done.stdout == "done\n", done.stderr
    assert (tmp_path / "own-0").exists()


@pytest.mark.parametrize("kind", ["fork", "spawn", "persistent"])
def test_workers_never_outlive_their_rank(tmp_path, kind):
    """Killed without a word, it leaves nobody behind for long."""
    process = alone(tmp_path, cuts=[3], workers=KINDS[kind])
    below = []
    try:
        until(lambda: (tmp_path / "step-3-0").exists() or process.poll() is not None, "it trains")
        below = children(process.pid)
        assert below
        process.kill()
        process.wait(30)
        until(lambda: not any(map(alive, below)), f"{below} end", GONE_S)
    finally:
        process.kill()
        for pid in filter(alive, below):
            os.kill(pid, signal.SIGKILL)
