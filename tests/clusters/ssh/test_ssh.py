"""The SSH backend against real sshds: what it reaches, and how."""

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.clusters.ssh.ssh_calls import ENV, connect, on_login_host, prelude, with_agent
from tests.testbed import Testbed, wait_until

pytestmark = pytest.mark.hosts

ODD_ARGUMENTS = [
    "",
    " ",
    "two words",
    "it's",
    '"quoted"',
    "line\nbreak\n",
    "$(x)",
    "; x",
    "`x`",
    "$HOME",
    "!!",
    "!x",
    "~",
    "*",
    "a\\b\\n\\0101",
    "%s%%",
    "é漢😀",
    "\t\r\x01",
    "&& x | y > z",
    "#",
    "--",
    "-n",
]
SHOW_ARGUMENTS = "import json, sys; print(json.dumps(sys.argv[1:]))"


# -- what works


def test_several_hosts_are_connected_to_at_once(testbed: Testbed) -> None:
    """Programs on all hosts run, each on its own."""
    answers = connect(testbed, "host1", "host2", "host3", "host4", testbed.address(4))

    assert [answer["out"] for answer in answers] == [
        "host1\n",
        "host2\n",
        "host3\n",
        "host4\n",
        "host4\n",
    ]
    assert {answer["code"] for answer in answers} == {0}


@pytest.mark.parametrize("shell", ["/bin/bash", "/bin/dash", "/bin/tcsh"])
def test_arguments_arrive_intact_whatever_the_login_shell(testbed: Testbed, shell: str) -> None:
    """Spaces, quotes, newlines and what shells take for their own arrive as they are."""
    assert testbed.call("host1", ["usermod", "-s", shell, "alice"]).returncode == 0
    argv = ["python3", "-c", SHOW_ARGUMENTS, *ODD_ARGUMENTS]

    (answer,) = connect(testbed, {"address": "host1", "user": "alice"}, argv=argv)

    assert answer.get("code") == 0, answer
    assert json.loads(answer["out"]) == ODD_ARGUMENTS


def test_exit_codes_signals_and_errors_come_back(testbed: Testbed) -> None:
    """The exit code, the signal that killed the program, and its last 10 kB of errors."""
    (exited,) = connect(testbed, "host1", argv=["sh", "-c", "echo out; echo err >&2; exit 7"])
    (killed,) = connect(testbed, "host1", argv=["sh", "-c", "kill -9 $$"])
    noise = "import sys; sys.stderr.write('x' * 1_000_000 + 'end')"
    (noisy,) = connect(testbed, "host1", argv=["python3", "-c", noise])

    assert (exited["code"], exited["out"], exited["errors"]) == (7, "out\n", "err\n")
    assert killed["code"] == -9
    assert (len(noisy["errors"]), noisy["errors"][-5:]) == (10_000, "xxend")


def test_a_login_shell_that_talks_does_no_harm(testbed: Testbed) -> None:
    """What a .bashrc prints comes first; the program's own output follows it whole."""
    bashrc = testbed.path("host2") / "root/.bashrc"
    bashrc.write_text("echo Welcome to host2\n")
    try:
        (answer,) = connect(testbed, "host2", argv=["echo", "hello"])
    finally:
        bashrc.unlink()

    assert (answer["code"], answer["out"]) == (0, "Welcome to host2\nhello\n")


def test_ten_megabytes_pass_both_ways_at_once(testbed: Testbed) -> None:
    """A thread that writes and one that reads move 10 MB through a program, bit by bit the same."""
    done = on_login_host(
        testbed,
        """
        import os, threading
        data = os.urandom(10_000_000)
        stream = cluster.connect(node, ["cat"], {})
        writer = threading.Thread(target=stream.write, args=(data,))
        writer.start()
        got = b""
        while len(got) < len(data):
            got += stream.read(1 << 20)
        writer.join()
        stream.close()
        print(got == data)
        """,
    )

    assert done.stdout == "True\n", done.stderr


def test_closing_ends_a_program_that_reads(testbed: Testbed) -> None:
    """After close the program sees the end of its input, and nothing of it stays."""
    done = on_login_host(
        testbed,
        """
        stream = cluster.connect(node, ["cat"], {})
        stream.write(b"hello")
        print(stream.read(5))
        stream.close()
        stream.close()
        print(stream.read(5), stream.wait(0))
        try:
            stream.write(b"more")
        except OSError as error:
            print(error)
        """,
    )

    assert done.stdout == "b'hello'\nb'' None\nthe connection is closed\n", done.stderr
    wait_until(lambda: testbed.processes("host1") == [], "cat has ended")


@pytest.mark.parametrize("jump", [None, "host2"])
def test_close_wakes_reader_and_writer_though_the_cable_is_cut(
    testbed: Testbed, jump: str | None
) -> None:
    """A read and a write that wait for a dead cable end within a second of close."""
    with testbed.run(
        "host0",
        [
            "python",
            "-c",
            prelude(proxy_jump=jump)
            + """
import sys, threading, time
stream = cluster.connect(node, ["sleep", "1000"], {})
ended = {}

def read():
    ended["read"] = (stream.read(10), time.monotonic())

def write():
    try:
        while True:
            stream.write(b"x" * 1_000_000)
            print("wrote", flush=True)
    except OSError:
        ended["write"] = (b"", time.monotonic())

threads = [threading.Thread(target=work, daemon=True) for work in (read, write)]
for thread in threads:
    thread.start()
sys.stdin.readline()
closed = time.monotonic()
stream.close()
close_took = time.monotonic() - closed
for thread in threads:
    thread.join(10)
print(sorted(ended), all(end - closed < 5 for _, end in ended.values()), close_took < 5)
""",
        ],
        env=ENV,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "wrote\n"
        testbed.cut(jump or "host1")
        process.stdin.write("close now\n")
        process.stdin.flush()
        lines = process.stdout.read().splitlines()
        assert process.wait(20) == 0
    for left in testbed.processes("host1"):  # it does not read, so nothing tells it to end
        if left.cmdline[0] == "sleep":
            os.kill(left.pid, signal.SIGKILL)

    assert [line for line in lines if line != "wrote"] == ["['read', 'write'] True True"]


@pytest.mark.parametrize("jump", [None, "host2"])
def test_after_a_crash_and_a_boot_a_host_is_reached_again(
    testbed: Testbed, jump: str | None
) -> None:
    """A restart needs no new cluster: broken connections, also of a jump host, are made anew."""
    program = """
import sys
for _ in range(2):
    stream = cluster.connect(node, ["sh", "-c", "hostname; exec cat"], {})
    print(stream.read(100).decode().strip(), flush=True)
    print("end of stream" if sys.stdin.readline() and not stream.read(1) else "", flush=True)
    stream.close()
    sys.stdin.readline()
"""
    with testbed.run(
        "host0",
        ["python", "-c", prelude(proxy_jump=jump) + program],
        env=ENV,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for _ in range(2):
            assert process.stdout.readline() == "host1\n"
            testbed.crash(jump or "host1")
            process.stdin.write("crashed\n")
            assert process.stdout.readline() == "end of stream\n"
            testbed.boot(jump or "host1")
            process.stdin.write("booted\n")
        assert process.wait(10) == 0


# -- ways to get there


def test_the_users_ssh_config_is_followed(testbed: Testbed, ssh_folder: Path, sshd: Any) -> None:
    """HostName, Port, User, IdentityFile, HostKeyAlias, UserKnownHostsFile, Include."""
    sshd("host1", 2222)
    (ssh_folder / "id_ed25519").rename(ssh_folder / "my_key")
    (ssh_folder / "id_ed25519.pub").unlink()
    known = (ssh_folder / "known_hosts").read_text()
    (ssh_folder / "my_known").write_text(known.replace("host1,10.77.0.1", "alias-of-1"))
    (ssh_folder / "known_hosts").write_text("")
    (ssh_folder / "more.conf").write_text("Host *  # of all\n  HostName 10.77.0.1 # it\n")
    (ssh_folder / "config").write_text(
        "Host nickname\n  User alice\n  Port 2222\n  Include more.conf\n"
        "  IdentityFile ~/.ssh/my_key\n  IdentitiesOnly yes\n"
        "  UserKnownHostsFile ~/.ssh/my_known\n  HostKeyAlias alias-of-1\n"
    )

    (answer,) = connect(testbed, "nickname", argv=["sh", "-c", "hostname; whoami"])

    assert answer.get("out") == "host1\nalice\n", answer


def test_what_the_cluster_file_says_comes_first(
    testbed: Testbed, ssh_folder: Path, sshd: Any
) -> None:
    """Port and user of the node, and the options, win over ~/.ssh/config."""
    sshd("host1", 2222)
    (ssh_folder / "id_ed25519").rename(ssh_folder / "key")
    line = (ssh_folder / "known_hosts").read_text().splitlines()[1]
    (ssh_folder / "known").write_text(line.replace("host1,10.77.0.1", "[host1]:2222") + "\n")
    (ssh_folder / "config").write_text(
        "Host *\n  User nobody\n  Port 1\n  UserKnownHostsFile /dev/null\n  ProxyJump nowhere\n"
    )

    (answer,) = connect(
        testbed,
        {"address": "host1", "port": 2222, "user": "alice"},
        argv=["whoami"],
        identity_file="~/.ssh/key",
        known_hosts="~/.ssh/known",
        proxy_jump="none",
    )

    assert answer.get("out") == "alice\n", answer


def test_hashed_known_hosts_are_understood(testbed: Testbed, ssh_folder: Path, sshd: Any) -> None:
    """Entries as ssh-keygen -H and ssh-keyscan -H write them, with a port too."""
    sshd("host1", 2222)
    scan = "ssh-keyscan -p 2222 -H host1 >> ~/.ssh/known_hosts; ssh-keygen -q -H"
    assert testbed.call("host0", ["sh", "-c", scan]).returncode == 0
    assert "host1" not in (ssh_folder / "known_hosts").read_text()

    answers = connect(testbed, "host1", {"address": "host1", "port": 2222})

    assert [answer.get("out") for answer in answers] == ["host1\n", "host1\n"]


def test_jump_hosts_are_logged_in_to_once(testbed: Testbed) -> None:
    """Over host1 to three others at once: one login on the jump host."""
    log = testbed.path("host1") / "var/log/sshd.log"
    logins_before = log.read_text().count("Accepted publickey")

    answers = connect(testbed, "host2", "host3", "host4", proxy_jump="host1")

    assert [answer.get("out") for answer in answers] == ["host2\n", "host3\n", "host4\n"]
    assert log.read_text().count("Accepted publickey") == logins_before + 1


def test_closing_one_tunnel_does_no_harm_to_the_others(testbed: Testbed) -> None:
    """Thirty connections over one jump host come and go; its own connection stays whole."""
    log = testbed.path("host1") / "var/log/sshd.log"

    answers = connect(testbed, *["host2", "host3", "host4"] * 10, proxy_jump="host1")

    assert [answer.get("code") for answer in answers] == [0] * 30, answers
    assert "Disconnecting" not in log.read_text()


def test_the_way_may_lead_over_several_jump_hosts(testbed: Testbed, ssh_folder: Path) -> None:
    """ProxyJump from ~/.ssh/config, with users and ports, one after the other."""
    (ssh_folder / "config").write_text(
        "Host host3\n  ProxyJump alice@host1:22,host2\nHost host4\n  ProxyJump host3\n"
    )
    talk = ["sh", "-c", "echo $SSH_CLIENT"]

    over_two, over_three = connect(testbed, "host3", "host4", argv=talk)

    assert over_two.get("out", "").startswith(testbed.address(2) + " "), over_two
    assert over_three.get("out", "").startswith(testbed.address(3) + " "), over_three


def test_a_jump_host_for_all_is_itself_reached_directly(testbed: Testbed, ssh_folder: Path) -> None:
    """``ProxyJump`` below ``Host *``."""
    (ssh_folder / "config").write_text("Host *\n  ProxyJump host1\n")

    answers = connect(testbed, "host1", "host2", argv=["sh", "-c", "echo $SSH_CLIENT"])

    clients = [answer.get("out", "").split()[0] for answer in answers]
    assert clients == [testbed.address(0), testbed.address(1)]


def test_a_proxy_command_is_followed(testbed: Testbed, ssh_folder: Path) -> None:
    """The program of ProxyCommand carries the connection, and ends with it."""
    (ssh_folder / "config").write_text("Host host2\n  ProxyCommand ssh -W %h:%p host1\n")

    (answer,) = connect(testbed, "host2", argv=["sh", "-c", "echo $SSH_CLIENT"])

    assert answer.get("out", "").startswith(testbed.address(1) + " "), answer


def test_keys_of_an_agent_are_used(testbed: Testbed, ssh_folder: Path) -> None:
    """A key that only the agent holds, and an encrypted one that it holds opened."""
    key = ssh_folder / "id_ed25519"

    done = with_agent(
        testbed, "ssh-add -q ~/.ssh/id_ed25519; mv ~/.ssh/id_ed25519 ~/.ssh/elsewhere"
    )
    assert [answer.get("out") for answer in done] == ["host1\n"], done

    (ssh_folder / "elsewhere").rename(key)
    encrypt = "ssh-keygen -q -p -N secret -f ~/.ssh/id_ed25519"
    done = with_agent(testbed, f"ssh-add -q ~/.ssh/id_ed25519; {encrypt}")
    assert [answer.get("out") for answer in done] == ["host1\n"], done
    reads_it = ["ssh-keygen", "-y", "-P", "", "-f", "/root/.ssh/id_ed25519"]
    assert testbed.call("host0", reads_it).returncode != 0


def test_a_busy_server_is_asked_again(testbed: Testbed, ssh_folder: Path, sshd: Any) -> None:
    """A server that drops connections while others log in (MaxStartups) is reached all the same."""
    sshd("host1", 2222, "MaxStartups=1")
    scan = "ssh-keyscan -t ed25519 -p 2222 host1 >> ~/.ssh/known_hosts"
    assert testbed.call("host0", ["sh", "-c", scan]).returncode == 0
    node = {"address": "host1", "port": 2222}

    answers = connect(testbed, *[node] * 8, connect_timeout_s=20)

    assert [answer.get("out") for answer in answers] == ["host1\n"] * 8, answers
