"""Hosts that log in and then say nothing, tell a wrong time, or hold an old copy of the program."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clusters.runs import Run
from tests.clusters.ssh.test_bad_hosts import refused
from tests.testbed import Testbed

pytestmark = pytest.mark.hosts

# What a login shell may do in place of running our command; each ends with the connection.
ASKS = "printf 'Project? '; exec cat 3>&1 >/dev/null"
STARTS_ANOTHER = "exec sh"
HANGS = "exec cat 3>&1 >/dev/null"
WRONG_CLOCK = f"""\
#!/bin/sh
program=$4
exec {sys.executable} -I -S -c 'import sys, time
true_time = time.time
time.time = lambda: true_time() + 3600
exec(sys.argv[1])' "$program"
"""


@pytest.fixture
def hosts(testbed: Testbed) -> Iterator[Testbed]:
    """Hosts whose files may be changed: they boot afresh afterwards."""
    yield testbed
    for number in (1, 2, 3, 4):
        testbed.crash(number)


def write(testbed: Testbed, host: int, file: str, text: str) -> None:
    path = testbed.path(host) / file
    path.write_text(text)
    path.chmod(0o755)


def cluster(testbed: Testbed, text: str) -> str:
    (testbed.shared / "silent.yaml").write_text(f"cluster: ssh\nhosts: ['host[1-4]']\n{text}")
    return "/shared/silent.yaml"


def test_hosts_that_never_answer(hosts: Testbed) -> None:
    """A row for each, with its last words, beside the host that is wrong in another way."""
    for number in (1, 2, 3):
        write(hosts, number, "opt/py", f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    write(hosts, 1, "root/.bashrc", ASKS)
    write(hosts, 2, "root/.bashrc", STARTS_ANOTHER)
    write(hosts, 3, "opt/py", f"#!/bin/sh\n{HANGS}\n")  # such as on a disk that hangs
    file = cluster(hosts, "python: /opt/py\nssh: {connect_timeout: 8}\n")

    told = refused(hosts, "--cluster", file, "--no-python", "true", hosts="")

    assert list(told) == ["host1", "host2", "host3", "host4"]
    silent = r"host\d +connected, but no answer within 8 s; it "
    assert re.match(
        f"{silent}last said: Project\\? +does this end there: /opt/py -I", told["host1"]
    )
    assert re.match(f"{silent}last said: .*not found", told["host2"])
    assert re.search("[0-9a-f]{64}", told["host2"]) is None
    assert re.match(f"{silent}said nothing", told["host3"])
    assert "no python at '/opt/py'" in told["host4"]


def test_a_slow_login_is_no_wrong_clock_but_a_wrong_clock_is(hosts: Testbed) -> None:
    """Each host by its own round trip, whatever the others take."""
    for number in (1, 2, 3, 4):
        write(hosts, number, "opt/py", f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    write(hosts, 2, "root/.bashrc", "sleep 6")
    write(hosts, 3, "opt/py", WRONG_CLOCK)
    file = cluster(hosts, "python: /opt/py\nssh: {connect_timeout: 60}\n")
    with Run(hosts, "--cluster", file, "--no-python", "true", hosts="", procs=1) as run:
        assert run.wait(90) == 0

    (line,) = [line for line in run.lines if "its clock" in line]
    assert re.fullmatch(r"plaunch: host3: its clock is \+(3599|3600|3601) s off ours", line)


def test_an_old_copy_of_the_program(hosts: Testbed) -> None:
    """Of the script, or of what it imports from beside it: refused, host by host and by name."""
    copies = {0: ("new", "new"), 1: ("new", "new"), 2: ("old", "new"), 3: ("new", "old")}
    for host, (script, beside) in copies.items():
        place = hosts.path(host) / "tmp/alone"
        place.mkdir()
        (place / "train.py").write_text(f"import beside  # {script}\n")
        (place / "beside.py").write_text(f"# {beside}\n")
        (place / "notes.py").write_text(f"# of host {host}, and not imported\n")

    told = refused(hosts, "/tmp/alone/train.py", hosts="host[1-3]")

    assert list(told) == ["host2", "host3"]
    assert "/tmp/alone/train.py there is not the one here" in told["host2"]
    assert "beside.py there is not the one here" in told["host3"]
    assert "an old copy? Copy it there anew" in told["host2"]

    (hosts.path(0) / "tmp/alone/train.py").unlink()  # the nodes are then compared with each other
    told = refused(hosts, "/tmp/alone/train.py", hosts="host[1-3]")
    assert list(told) == ["host2"]
    assert "/tmp/alone/train.py there is not the one that most nodes have" in told["host2"]


def test_homes_and_read_only_tmp_and_low_limits(hosts: Testbed) -> None:
    """``~`` is the home of the host's own user; /tmp that can't be written to is done without."""
    for host, home in ((1, "root"), (2, "home/alice")):
        work = hosts.path(host) / home / "my work"
        work.mkdir()
        write(hosts, host, f"{home}/py", f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        script = 'echo "$PWD $(ulimit -Sn) ${PLAUNCH_SOCKET%/*/*}"'
        write(hosts, host, f"{home}/my work/main.sh", script)
        write(hosts, host, f"{home}/.bashrc", "ulimit -Sn 32")
        hosts.call(host, ["mount", "-t", "tmpfs", "-o", "ro", "none", "/tmp"]).check_returncode()
    (hosts.shared / "silent.yaml").write_text(
        "cluster: ssh\nhosts: [host1, alice@host2]\npython: ~/py\nworkdir: ~/my work\n"
    )
    words = ["--cluster", "/shared/silent.yaml", "--no-python", "sh", "main.sh"]
    with Run(hosts, *words, hosts="", procs=8) as run:
        assert run.wait(90) == 0

    said = {line.partition("] ")[2].strip() for line in run.lines if line.startswith("[")}
    assert said == {"/root/my work 32 /dev/shm", "/home/alice/my work 32 /dev/shm"}


def test_a_user_of_whom_there_is_no_home(testbed: Testbed) -> None:
    """``~nobody-here/python`` is said, not taken for a file's name."""
    (testbed.shared / "silent.yaml").write_text(
        "cluster: ssh\nhosts: [host1]\npython: ~nobody-here/py\n"
    )
    told = refused(testbed, "--cluster", "/shared/silent.yaml", "--no-python", "true", hosts="")

    assert "no python at '~nobody-here/py'" in told["host1"]


def test_folder_that_only_hosts_have(testbed: Testbed) -> None:
    """The other way round is none of our business: a script that only the hosts have runs."""
    path = Path("tmp/only.py")
    for host in (1, 2):
        (testbed.path(host) / path).write_text("print('ran')\n")
    with Run(testbed, "/tmp/only.py", hosts="host[1-2]", procs=1) as run:
        assert run.wait(90) == 0
