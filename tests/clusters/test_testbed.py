"""The testbed makes real hosts of this machine, and leaves nothing behind."""

import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests.testbed import Testbed, wait_until

pytestmark = pytest.mark.hosts

OWNER = """
import os, sys
from tests.testbed import Testbed
with Testbed(1) as bed:
    bed.run(1, ["sleep", "1000"])
    print(*(str(bed.path(k)).split("/")[2] for k in (0, 1)), flush=True)
    {then}
"""


def test_hosts_have_names_and_addresses_of_their_own(testbed: Testbed) -> None:
    """Each host knows its own name, and reaches the others by name and by address."""
    for number in (1, 2, 3, 4):
        done = testbed.call(number, ["hostname"])
        assert (done.returncode, done.stdout) == (0, f"host{number}\n")

    done = testbed.call("host1", ["ping", "-c", "1", "-W", "5", "host4"])

    assert done.returncode == 0
    assert f"({testbed.address(4)})" in done.stdout


def _words(testbed: Testbed, host: int) -> list[tuple[str, ...]]:
    """The command lines on a host; empty for a process that is about to become another program."""
    return [tuple(process.cmdline) for process in testbed.processes(host)]


def test_hosts_have_process_spaces_and_files_of_their_own(testbed: Testbed) -> None:
    """A host neither sees another's processes nor its files; /shared is one for all."""
    sleeping = testbed.run("host1", ["sleep", "1000"])
    try:
        wait_until(lambda: _words(testbed, 1) == [("sleep", "1000")], "sleep runs")
        assert testbed.processes(2) == []
        assert testbed.call("host2", ["pgrep", "-f", "sleep 1000"]).returncode == 1
        assert testbed.call("host1", ["pgrep", "-f", "sleep 1000"]).returncode == 0
    finally:
        sleeping.kill()
        sleeping.wait(10)

    testbed.call("host1", ["sh", "-c", "echo private >/tmp/a; echo common >/shared/a"])

    assert testbed.call("host1", ["cat", "/tmp/a", "/shared/a"]).stdout == "private\ncommon\n"
    assert testbed.call("host2", ["cat", "/tmp/a"]).returncode == 1
    assert testbed.call("host2", ["cat", "/shared/a"]).stdout == "common\n"
    assert (testbed.path("host1") / "tmp/a").read_text() == "private\n"
    assert (testbed.shared / "a").read_text() == "common\n"
    assert not Path("/tmp/a").exists()
    (testbed.shared / "a").unlink()


@pytest.mark.parametrize("folder", ["/tmp", "/var/tmp", "/dev/shm"])
def test_a_host_has_folders_for_temporary_files_of_its_own(testbed: Testbed, folder: str) -> None:
    """What this machine has there no host sees: a host may have a file of the same name."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        write = f"test ! -e {name} && echo private >{name} && cat {name}; stat -c %a {folder}"
        for host in ("host1", "host2"):
            done = testbed.call(host, ["sh", "-c", write], user="alice")
            assert (done.stdout, done.stderr) == ("private\n1777\n", "")
        assert (testbed.path("host1") / name.lstrip("/")).read_text() == "private\n"
        assert Path(name).is_dir()


def test_programs_on_a_host_behave_like_child_processes(testbed: Testbed) -> None:
    """Exit codes, signals, users and environments arrive; killing the proxy kills the program."""
    assert testbed.call("host1", ["sh", "-c", "exit 7"]).returncode == 7
    assert testbed.call("host1", ["sh", "-c", "kill -9 $$"]).returncode == -signal.SIGKILL
    assert testbed.call("host1", ["whoami"], user="alice").stdout == "alice\n"
    assert testbed.call("host1", ["printenv", "A"], env={"A": "x y"}).stdout == "x y\n"

    script = "trap 'echo got it; exit 3' TERM; echo ready; while :; do sleep 0.01; done"
    with testbed.run(1, ["sh", "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "got it\n"
        assert process.wait(10) == 3

    process = testbed.run("host1", ["sleep", "1000"])
    wait_until(lambda: _words(testbed, 1) == [("sleep", "1000")], "sleep runs")
    process.kill()
    assert process.wait(10) == -signal.SIGKILL
    wait_until(lambda: testbed.processes(1) == [], "sleep has gone as well")


@pytest.mark.parametrize("user", ["root", "alice"])
def test_ssh_works_between_hosts(testbed: Testbed, user: str) -> None:
    """Every user logs in from the login host to every host, by name and by address."""
    for target in ("host1", testbed.address(4)):
        done = testbed.call("host0", ["ssh", f"{user}@{target}", "whoami; hostname"], user=user)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[0] == user


def test_a_crashed_host_is_gone_and_boots_as_itself(testbed: Testbed) -> None:
    """A crash ends everything on a host; after a boot, its ssh key is the same."""
    testbed.call("host2", ["touch", "/tmp/written"])
    process = testbed.run("host2", ["sleep", "1000"])
    wait_until(lambda: testbed.processes(2) != [], "sleep runs")

    testbed.crash("host2")

    assert process.wait(10) == -signal.SIGKILL
    assert testbed.processes("host2") == []
    ssh = ["ssh", "-o", "ConnectTimeout=1", "host2"]
    assert testbed.call("host0", [*ssh, "true"]).returncode == 255

    testbed.boot("host2")

    assert testbed.call("host0", [*ssh, "hostname"]).stdout == "host2\n"
    assert testbed.call("host2", ["cat", "/tmp/written"]).returncode == 1


def test_a_cut_cable_closes_nothing_and_heals(testbed: Testbed) -> None:
    """While a cable is cut nothing arrives and no connection is closed; healed, all goes on."""
    with testbed.run(
        "host0", ["ssh", "host3", "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as session:
        assert session.stdin is not None
        assert session.stdout is not None
        session.stdin.write(b"before\n")
        session.stdin.flush()
        assert session.stdout.readline() == b"before\n"

        testbed.cut("host3")
        ping = ["ping", "-c", "1", "-W", "1", "host3"]
        assert testbed.call("host0", ping).returncode == 1
        session.stdin.write(b"during\n")
        session.stdin.flush()
        assert select.select([session.stdout], [], [], 0.5)[0] == []
        assert session.poll() is None

        testbed.heal("host3")
        assert session.stdout.readline() == b"during\n"
        session.stdin.close()
        assert session.wait(20) == 0


def test_a_frozen_host_stands_still_until_thawed(testbed: Testbed) -> None:
    """Processes of a frozen host do nothing, though its kernel answers; thawed, they go on."""
    counter = testbed.path(4) / "tmp/count"
    script = "i=0; while :; do i=$((i+1)); echo $i >/tmp/new; mv /tmp/new /tmp/count; done"
    process = testbed.run("host4", ["sh", "-c", script])
    try:
        wait_until(counter.exists, "it counts")
        testbed.freeze("host4")
        frozen_at = counter.read_text()
        assert testbed.call("host0", ["ping", "-c", "1", "-W", "5", "host4"]).returncode == 0
        time.sleep(0.3)
        assert counter.read_text() == frozen_at
        testbed.thaw("host4")
        wait_until(lambda: counter.read_text() != frozen_at, "it counts again")
    finally:
        process.kill()
        process.wait(10)


def test_several_testbeds_can_be_up_at_once(testbed: Testbed) -> None:
    """Two testbeds have the same names and addresses and don't know of each other."""
    with Testbed(1) as other, other.run("host1", ["sleep", "1000"]) as sleeping:
        other.call("host1", ["touch", "/shared/mine", "/tmp/mine"])

        wait_until(lambda: _words(other, 1) == [("sleep", "1000")], "sleep runs")
        assert other.call("host0", ["ssh", "host1", "hostname"]).stdout == "host1\n"
        assert not (testbed.shared / "mine").exists()
        assert not (testbed.path("host1") / "tmp/mine").exists()
        assert testbed.processes("host1") == []

        testbed.crash("host1")
        testbed.cut("host0")
        assert other.call("host0", ["ssh", "host1", "hostname"]).stdout == "host1\n"
        assert sleeping.poll() is None

        testbed.restore()
        other.crash("host1")
        assert testbed.call("host0", ["ssh", "host1", "hostname"]).stdout == "host1\n"
    assert testbed.call("host0", ["ssh", "host1", "hostname"]).stdout == "host1\n"


@pytest.mark.parametrize(
    ("then", "end"),
    [
        ("pass", None),
        ("raise SystemExit(1)", None),
        ("sys.stdin.read()", signal.SIGINT),
        ("sys.stdin.read()", signal.SIGTERM),
        ("sys.stdin.read()", signal.SIGKILL),
        # A forked child that keeps every file of the owner open must not keep the hosts alive.
        ("os.fork() or os.read(0, 1); sys.stdin.read()", signal.SIGKILL),
    ],
)
def test_nothing_is_left_however_the_owner_ends(then: str, end: signal.Signals | None) -> None:
    """Processes, namespaces, mounts and links are gone, also after a kill -9 of the owner."""
    mounts_before, links_before = _mounts(), _links()
    with subprocess.Popen(
        [sys.executable, "-c", OWNER.format(then=then)],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as owner:
        assert owner.stdout is not None
        try:
            pids = owner.stdout.readline().split()
            assert len(pids) == 2
            if end is not None:
                spaces = {os.readlink(f"/proc/{pid}/ns/pid") for pid in pids}
                assert _processes_in(spaces) != []
                owner.send_signal(end)
                owner.wait(20)
                wait_until(lambda: _processes_in(spaces) == [], "all processes are gone")
            owner.wait(20)
        finally:
            owner.kill()
    wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids), "hosts are gone")
    assert _mounts() <= mounts_before
    assert _links() <= links_before


def _mounts() -> set[str]:
    """What a testbed could have left of its file systems; other tests mount things elsewhere."""
    lines = Path("/proc/self/mounts").read_text().splitlines()
    return {line for line in lines if "overlay" in line or line.split()[1].count("/") == 1}


def _links() -> set[str]:
    """What a testbed could have left of its network."""
    return {name for _, name in socket.if_nameindex() if name.startswith(("br", "v"))}


def _processes_in(spaces: set[str]) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and os.readlink(entry / "ns/pid") in spaces:
                found.append(entry.name)
        except OSError:
            continue
    return found
