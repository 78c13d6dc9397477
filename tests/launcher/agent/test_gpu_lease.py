"""Leases: two runs on one machine never hold the same GPU."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.agent.node.gpu_lease import Lease, holder

ROOT = Path(__file__).parents[3]
DEADLINE_S = 30
RUNNER = """
import os, sys
from launcher.agent.node.gpu_lease import Lease
lease = Lease("race")
print("ready", flush=True)
for line in sys.stdin:
    order, *uuids = line.split()
    if order == "take":
        print(*lease.take(uuids)[0], flush=True)
    elif order == "give_back":
        lease.give_back(uuids)
        print("done", flush=True)
    elif order == "run":
        child = os.spawnlp(os.P_NOWAIT, "sleep", "sleep", "1000")
        print(child, flush=True)
"""


class Runner:
    """Another process that takes leases when told."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", RUNNER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        assert self.answer() == "ready"

    def tell(self, *words: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(" ".join(words) + "\n")
        self.process.stdin.flush()

    def answer(self) -> str:
        assert self.process.stdout is not None
        timer = threading.Timer(DEADLINE_S, self.process.kill)
        timer.start()
        line = self.process.stdout.readline()
        timer.cancel()
        assert line, "the other process has ended"
        return line.strip()

    def ask(self, *words: str) -> str:
        self.tell(*words)
        return self.answer()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(DEADLINE_S)
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


@pytest.fixture
def runners() -> Iterator[tuple[Runner, Runner]]:
    """Two other processes."""
    pair = Runner(), Runner()
    yield pair
    for runner in pair:
        runner.kill()


@pytest.fixture
def lease(lease_dir: Path) -> Iterator[Lease]:
    """A lease of this process, given back at the end."""
    mine = Lease("job-1")
    yield mine
    mine.give_back()


def test_of_two_processes_that_race_for_a_gpu_one_gets_it(
    lease_dir: Path, runners: tuple[Runner, Runner]
) -> None:
    """Twenty times over, two real processes ask for the same GPU at once: one has it, one not."""
    for _ in range(20):
        for runner in runners:
            runner.tell("take", "GPU-a")
        answers = sorted(runner.answer() for runner in runners)

        assert answers == ["", "GPU-a"]
        for runner in runners:
            runner.ask("give_back", "GPU-a")


def test_each_gpu_is_granted_or_refused_on_its_own(
    lease: Lease, runners: tuple[Runner, Runner]
) -> None:
    """One GPU that is gone doesn't cost the others."""
    assert runners[0].ask("take", "GPU-b") == "GPU-b"

    assert lease.take(["GPU-a", "GPU-b", "GPU-c"]) == (("GPU-a", "GPU-c"), ("GPU-b",))
    assert lease.held == ("GPU-a", "GPU-c")


def test_taking_what_one_holds_is_granted(lease: Lease) -> None:
    """The next attempt of the same run takes its GPUs again."""
    lease.take(["GPU-a"])

    assert lease.take(["GPU-a"]) == (("GPU-a",), ())


def test_the_holder_is_named(lease: Lease, runners: tuple[Runner, Runner]) -> None:
    """A person reads which run holds a GPU; a free one has no holder, before and after."""
    before = holder("GPU-a")
    lease.take(["GPU-a"])
    during = holder("GPU-a")
    lease.give_back(["GPU-a"])

    assert (before, holder("GPU-a")) == ("", "")
    assert during.startswith("run job-1 of ")
    assert during.endswith(f", pid {os.getpid()}")


def test_a_killed_process_loses_its_lease_although_its_child_lives_on(
    lease: Lease, runners: tuple[Runner, Runner]
) -> None:
    """The kernel drops the lease with its owner, and no program started meanwhile keeps it."""
    runners[0].ask("take", "GPU-a")
    child = int(runners[0].ask("run"))
    assert lease.take(["GPU-a"]) == ((), ("GPU-a",))

    runners[0].kill()

    try:
        assert lease.take(["GPU-a"]) == (("GPU-a",), ())
        os.kill(child, 0)
    finally:
        os.kill(child, signal.SIGKILL)


def test_looking_at_a_lease_never_refuses_it_to_others(lease_dir: Path) -> None:
    """While others look all the time, a GPU that nobody holds is always granted."""
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            holder("GPU-a")

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        for _ in range(200):
            mine = Lease("job")
            assert mine.take(["GPU-a"]) == (("GPU-a",), ())
            mine.give_back()
    finally:
        stop.set()
        watcher.join(DEADLINE_S)


def test_the_folder_is_for_all_users(lease: Lease, lease_dir: Path) -> None:
    """Sticky and writable for everyone whatever the umask; each file can be signed by its owner."""
    before = os.umask(0o077)
    try:
        lease.take(["GPU-a"])
    finally:
        os.umask(before)

    assert stat.S_IMODE(lease_dir.stat().st_mode) == 0o1777
    assert stat.S_IMODE((lease_dir / "GPU-a.lock").stat().st_mode) == 0o666


@pytest.mark.parametrize("mode", [0o666, 0o644])
def test_a_file_of_another_user_can_be_locked(mode: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease file belongs to whoever came first; an ordinary user leases it all the same."""
    if os.getuid() != 0:
        pytest.skip("needs root to act as two users")
    with tempfile.TemporaryDirectory() as parent:  # pytest's own folders are closed to others
        os.chmod(parent, 0o755)
        folder = Path(parent, "leases")
        monkeypatch.setenv("PLAUNCH_LEASE_DIR", str(folder))
        _lock_as_two_users(folder / "GPU-a.lock", mode)


def _lock_as_two_users(file: Path, mode: int) -> None:
    first = Lease("of-root")
    first.take(["GPU-a"])
    file.chmod(mode)
    code = (
        "import os, sys; sys.path.insert(0, '.'); import launcher.agent.node.gpu_lease as lease; "
        "os.setuid(65534); mine = lease.Lease('j'); print(mine.take(['GPU-a'])[0], mine.problem)"
    )
    run = [sys.executable, "-c", code]

    refused = subprocess.run(run, cwd=ROOT, check=True, capture_output=True, text=True)
    first.give_back()
    granted = subprocess.run(run, cwd=ROOT, check=True, capture_output=True, text=True)

    assert refused.stdout == "() \n"
    assert granted.stdout == "('GPU-a',) \n"


def test_a_link_in_the_folder_is_not_followed(lease: Lease, lease_dir: Path) -> None:
    """Someone who plants a link in the shared folder gets no file of ours written."""
    precious = lease_dir.parent / "precious"
    precious.write_text("precious")
    lease_dir.mkdir()
    (lease_dir / "GPU-a.lock").symlink_to(precious)

    granted = lease.take(["GPU-a"])

    assert precious.read_text() == "precious"
    assert granted == (("GPU-a",), ())
    assert "GPU leases don't work here" in lease.problem


def test_a_link_in_place_of_the_folder_is_not_followed(lease: Lease, lease_dir: Path) -> None:
    """Nor is the folder itself taken through a link."""
    (lease_dir.parent / "elsewhere").mkdir()
    lease_dir.symlink_to(lease_dir.parent / "elsewhere")

    lease.take(["GPU-a"])

    assert list((lease_dir.parent / "elsewhere").iterdir()) == []
    assert lease.problem


def test_a_pipe_in_place_of_the_file_holds_up_nobody(lease: Lease, lease_dir: Path) -> None:
    """Only plain files are opened, and without waiting for anybody."""
    lease_dir.mkdir()
    os.mkfifo(lease_dir / "GPU-a.lock")

    assert lease.take(["GPU-a"]) == (("GPU-a",), ())
    assert "not a plain file" in lease.problem
    assert holder("GPU-a") == ""


@pytest.mark.parametrize(
    "note",
    [
        "",
        "{",
        "[]",
        '{"job": "j"}',
        json.dumps({"job": "\x1b[31mred", "user": "u", "pid": 1}),
        json.dumps({"job": "j" * 500, "user": "u", "pid": 1}),
        json.dumps({"job": "j", "user": "u", "pid": "rm"}),
        "[" * 900,
    ],
)
def test_what_others_wrote_is_not_believed(lease_dir: Path, note: str) -> None:
    """Anyone can write into a lease file: what isn't as we write it isn't repeated."""
    lease_dir.mkdir()
    path = lease_dir / "GPU-a.lock"
    path.write_text(note)
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)

        assert holder("GPU-a") == "another run"


def test_where_leases_do_not_work_gpus_are_granted_with_a_word(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A machine without a place for leases can still train."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("PLAUNCH_LEASE_DIR", str(tmp_path / "file" / "leases"))
    mine = Lease("job")

    assert mine.take(["GPU-a"]) == (("GPU-a",), ())
    assert "Not a directory" in mine.problem
    assert holder("GPU-a") == ""


def test_a_name_never_leaves_the_folder(lease: Lease, lease_dir: Path) -> None:
    """Old names of MIG instances hold slashes."""
    lease.take(["MIG-GPU-1/2/3", "../../x"])

    assert sorted(p.name for p in lease_dir.iterdir()) == [
        "MIG-GPU-1_2_3.lock",
        "______x.lock",
    ]
