"""A rank that the kernel kills for memory: for real, in a control group with a small limit."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.agent.node import cleanup
from tests.launcher.support.runs import PLAUNCH, Launcher
from tests.support.alone import alone

LIMIT = 1 << 30  # a torch with CUDA takes half of it
MAIN = """
import os, time
if os.environ["RANK"] == "1":
    print("filling", flush=True)
    hoard = []
    while True: hoard.append(bytearray(b"x" * (8 << 20)))
time.sleep(600)
"""


def memory_root() -> Path | None:
    """Where memory is limited on this machine, if we may: a v1 hierarchy, or v2's."""
    for root in (Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")):
        v1, v2 = root / "memory.limit_in_bytes", root / "cgroup.subtree_control"
        if v1.exists() or (v2.exists() and "memory" in v2.read_text().split()):
            return root
    return None


@pytest.fixture
def small_group() -> Iterator[Path]:
    """A control group whose processes may use little memory together."""
    with alone():
        yield from _small_group()


def _small_group() -> Iterator[Path]:
    root = memory_root()
    if root is None or os.getuid() != 0:
        pytest.skip("needs root and a memory controller")
    group = root / f"plaunch-test-{secrets.token_hex(4)}"
    try:
        group.mkdir()
        for name in ("memory.limit_in_bytes", "memory.max"):
            if (group / name).exists():
                (group / name).write_text(str(LIMIT))
        for name in ("memory.swap.max", "memory.memsw.limit_in_bytes"):
            with contextlib.suppress(OSError):
                if (group / name).exists():
                    (group / name).write_text("0" if "max" in name else str(LIMIT))
    except OSError as error:
        with contextlib.suppress(OSError):
            group.rmdir()
        pytest.skip(f"may not make a control group: {error.strerror}")
    yield group
    for _ in range(500):  # the kernel lets it go shortly after its last process
        with contextlib.suppress(OSError):
            group.rmdir()
            break
        time.sleep(0.02)
    assert not group.exists()


def test_a_rank_without_memory_is_named(plaunch: Launcher, small_group: Path) -> None:
    """The verdict says that the kernel killed it for memory, not just by signal 9."""
    plaunch.write("main.py", MAIN)
    enter = f'echo $$ > "{small_group}/cgroup.procs" && exec "$0" "$@"'
    words = (PLAUNCH, "--start", "cold", "--procs", "2", "main.py")
    done = plaunch(*words, command=("bash", "-c", enter))
    assert done.code == 137
    assert (done.verdict["kind"], done.verdict["rank"]) == ("oom", 1)
    assert done.verdict["signal"] == "SIGKILL"
    assert done.verdict["last_lines"] == ["filling"]
    assert "ran out of memory" in done.err


NEARLY = """
import os, signal
limit = int(os.environ["LIMIT"])
def used():
    with open("/proc/self/status") as status:
        return next(int(row.split()[1]) << 10 for row in status if row.startswith("VmRSS"))
hoard = []
while used() < 0.97 * limit: hoard.append(bytearray(b"x" * (4 << 20)))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_kill_near_the_limit_is_probably_for_memory(plaunch: Launcher, small_group: Path) -> None:
    """Something that the kernel does not count, such as a daemon for memory, may have killed it."""
    plaunch.write("main.py", NEARLY)
    enter = f'echo $$ > "{small_group}/cgroup.procs" && exec "$0" "$@"'
    words = (PLAUNCH, "--start", "cold", "--env", f"LIMIT={LIMIT - (100 << 20)}", "main.py")
    done = plaunch(*words, command=("bash", "-c", enter))
    assert done.code == 137
    assert (done.verdict["kind"], done.verdict["signal"]) == ("signal", "SIGKILL")
    assert "probably out of memory: " in done.err
    assert "of 1.0 GiB were in use" in done.verdict["message"]


@pytest.mark.parametrize(
    ("limits", "peak", "text"),
    [
        ([(16 << 30, 12 << 30)], 1 << 30, ""),
        ([(16 << 30, 14 << 30)], 13 << 30, "15.0 of 16.0 GiB"),
        ([(64 << 30, 60 << 30), (8 << 30, 7 << 30)], 7 << 30, "8.0 of 8.0 GiB"),
        ([(64 << 30, 60 << 30), (8 << 30, 8 << 30)], 1 << 30, ""),
        ([], 1 << 40, ""),
        ([(0, 0)], 1 << 30, ""),
    ],
)
def test_what_is_near_a_limit(
    limits: list[tuple[int, int]], peak: int, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is in use after the kill counts, too: several ranks fill a machine together."""
    monkeypatch.setattr(cleanup, "_limits", lambda: limits)
    assert cleanup.nearly_all(peak) == text


def test_this_machines_limits() -> None:
    """The whole machine's memory is among them; none has more free than there is."""
    limits = cleanup._limits()
    assert limits
    assert all(available <= limit for limit, available in limits)
    assert cleanup.nearly_all(0) == "" or min(a / max(n, 1) for n, a in limits) < 0.15


def test_a_kill_in_another_group_is_none_of_ours(small_group: Path) -> None:
    """What the kernel kills elsewhere on the machine is not taken for a rank of ours."""
    if not any(Path(file).exists() for file in cleanup._memory_files()):
        pytest.skip("our own control group counts nothing")
    before = cleanup.oom_kills()
    fill = f"""
import os
open("{small_group}/cgroup.procs", "w").write(str(os.getpid()))
hoard = []
while True: hoard.append(bytearray(b"x" * (8 << 20)))
"""
    done = subprocess.run([sys.executable, "-c", fill], timeout=90, check=False)
    assert done.returncode == -signal.SIGKILL
    assert cleanup.oom_kills() == before
