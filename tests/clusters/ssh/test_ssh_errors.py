"""The SSH backend against real sshds: where it can't get through, it says why and what to do."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.clusters.ssh.ssh_calls import connect, refusal, with_agent
from tests.testbed import Testbed

pytestmark = pytest.mark.hosts


def test_unknown_host_name(testbed: Testbed) -> None:
    """A name that nobody knows."""
    problem, advice = refusal(testbed, "hots1")

    assert problem == "unknown host name 'hots1'"
    assert "spelling" in advice


def test_closed_port(testbed: Testbed) -> None:
    """A port on which nobody listens."""
    problem, advice = refusal(testbed, {"address": "host1", "port": 2222})

    assert problem == "connection refused by host1 port 2222"
    assert "is sshd running there" in advice


def test_unreachable_host(testbed: Testbed) -> None:
    """A cut cable: an error after the timeout, not after TCP's minutes."""
    testbed.cut("host2")

    (answer,) = connect(testbed, "host2", connect_timeout_s=1)

    assert answer["problem"] == "no answer from host2 port 22 within 1 s"
    assert answer["seconds"] < 10


def test_host_that_accepts_but_does_not_answer(testbed: Testbed) -> None:
    """A frozen host, whose kernel accepts the connection."""
    testbed.freeze("host2")

    (answer,) = connect(testbed, "host2", connect_timeout_s=1)

    assert "the SSH handshake failed: no answer within 1 s" in answer["problem"]
    assert answer["seconds"] < 10


def test_port_of_something_else(testbed: Testbed) -> None:
    """A server that speaks another language."""
    serve = "import http.server as h; h.HTTPServer(('', 8080), h.BaseHTTPRequestHandler)"
    program = f"{serve}.serve_forever()".replace(
        "; h.", "; print(flush=True); server = h.", 1
    ).replace("Handler).serve", "Handler); print('up', flush=True); server.serve")
    with testbed.run(
        "host1",
        ["python", "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as server:
        assert server.stdout is not None
        while server.stdout.readline() != "up\n":
            assert server.poll() is None
        try:
            problem, advice = refusal(
                testbed, {"address": "host1", "port": 8080}, connect_timeout_s=1
            )
        finally:
            server.kill()

    assert "host1 port 8080 accepts connections, but the SSH handshake failed" in problem
    assert "is it an SSH server" in advice


def test_wrong_user(testbed: Testbed) -> None:
    """The user and the keys that were tried are named."""
    problem, advice = refusal(testbed, {"address": "host1", "user": "bob"})

    assert problem == "user 'bob' was refused with the keys tried: /root/.ssh/id_ed25519"
    assert "ssh-copy-id bob@host1" in advice


def test_too_many_keys(testbed: Testbed) -> None:
    """An agent so full that the server hangs up before the right key's turn."""
    add = "for i in 0 1 2 3 4 5 6 7; do ssh-keygen -q -t ed25519 -N '' -f /tmp/k$i; "
    add += "ssh-add -q /tmp/k$i; done; rm -f /tmp/k[1-7]*"

    (answer,) = with_agent(testbed, add, identity_file="/tmp/k0")

    assert answer["problem"].startswith("user 'root' was refused with the keys tried: /tmp/k0")
    assert answer["problem"].endswith("(then the server closed the connection)")


def test_no_key_at_all(testbed: Testbed, ssh_folder: Path) -> None:
    """Nothing to log in with."""
    (ssh_folder / "id_ed25519").unlink()

    problem, advice = refusal(testbed, "host1")

    assert problem == "no key to log in with as user 'root'"
    assert "ssh-keygen" in advice


def test_identity_file_that_is_not_there(testbed: Testbed) -> None:
    """A key file that was asked for must be there."""
    assert refusal(testbed, "host1", identity_file="~/.ssh/nothing")[0] == (
        "no such identity file: ~/.ssh/nothing"
    )


def test_encrypted_key(testbed: Testbed, ssh_folder: Path) -> None:
    """A key with a passphrase, and no agent that holds it."""
    encrypt = ["ssh-keygen", "-q", "-p", "-N", "secret", "-f", "/root/.ssh/id_ed25519"]
    assert testbed.call("host0", encrypt).returncode == 0

    problem, advice = refusal(testbed, "host1")

    assert problem == "the key /root/.ssh/id_ed25519 is encrypted and no ssh-agent holds it"
    assert "ssh-add /root/.ssh/id_ed25519" in advice


def test_server_that_takes_no_keys(testbed: Testbed, ssh_folder: Path, sshd: Any) -> None:
    """A server with passwords only."""
    sshd("host1", 2222, "PubkeyAuthentication=no", "PasswordAuthentication=yes")
    scan = "ssh-keyscan -t ed25519 -p 2222 host1 >> ~/.ssh/known_hosts"
    assert testbed.call("host0", ["sh", "-c", scan]).returncode == 0

    problem, _ = refusal(testbed, {"address": "host1", "port": 2222})

    assert problem == "it takes no keys for user 'root', only: password"


def test_unknown_host_key_and_the_command_that_mends_it(
    testbed: Testbed, ssh_folder: Path, sshd: Any
) -> None:
    """An unknown key is refused; the command in the advice compares it with what one was told."""
    sshd("host1", 2222)
    node = {"address": "host1", "port": 2222}
    known_hosts = ssh_folder / "known_hosts"
    text = known_hosts.read_text()
    assert connect(testbed, node)[0].get("out") == "host1\n"  # by its key on port 22, as with ssh
    known_hosts.write_text("".join(row for row in text.splitlines(True) if "host1" not in row))
    fingerprint = testbed.call(
        "host1", ["ssh-keygen", "-lf", "/etc/ssh/ssh_host_ed25519_key.pub"]
    ).stdout.split()[1]

    problem, advice = refusal(testbed, node)

    assert problem == f"unknown host key of [host1]:2222: ssh-ed25519 {fingerprint}"
    assert "from its administrator, by another way than this connection" in advice
    assert "ssh-keyscan" not in advice
    command = advice.split(" run: ")[1].split(", and")[0]
    known = "-o UserKnownHostsFile=~/.ssh/known_hosts"
    assert command == f"ssh -p 2222 -o StrictHostKeyChecking=ask {known} host1 true"

    def answered(words: str) -> int:
        asked = ssh_folder / "asked"
        once = f"mv $0 $0.done; printf '#!/bin/sh\\necho no\\n' > $0; chmod 755 $0; echo {words}"
        asked.write_text(f"#!/bin/sh\n{once}\n")
        asked.chmod(0o755)
        env = "SSH_ASKPASS=/root/.ssh/asked SSH_ASKPASS_REQUIRE=force"
        script = f"{env} setsid -w {command} </dev/null"
        return testbed.call("host0", ["sh", "-c", script]).returncode

    assert answered(f"{fingerprint[:-1]}=") != 0
    assert "problem" in connect(testbed, node)[0]
    assert answered(fingerprint) == 0
    assert connect(testbed, node)[0].get("out") == "host1\n"


def test_changed_host_key_leads_nobody_past_the_check(testbed: Testbed, ssh_folder: Path) -> None:
    """A changed key is refused with both fingerprints; no command in the advice forgets the old."""
    known = ssh_folder / "known_hosts"
    lines = known.read_text().splitlines()
    lines[1] = f"host1 {' '.join(lines[2].split()[1:])}"
    known.write_text("\n".join(lines) + "\n")
    shown = {
        host: testbed.call(
            host, ["ssh-keygen", "-lf", "/etc/ssh/ssh_host_ed25519_key.pub"]
        ).stdout.split()[1]
        for host in ("host1", "host2")
    }

    problem, advice = refusal(testbed, "host1")

    new, old = f"ssh-ed25519 {shown['host1']}", f"ssh-ed25519 {shown['host2']}"
    assert problem == (
        f"host key of host1 has changed: it is now {new}, and /root/.ssh/known_hosts line 2 has "
        f"{old}"
    )
    assert "from its administrator, by another way than this connection" in advice
    assert not any(word in advice for word in ("ssh-keygen -R", "ssh-keyscan", "run:"))


def test_revoked_host_key(testbed: Testbed, ssh_folder: Path) -> None:
    """A key marked as revoked is refused though another line allows it."""
    known = ssh_folder / "known_hosts"
    text = known.read_text()
    known.write_text(f"{text}@revoked {text.splitlines()[1]}\n")

    assert "is revoked in /root/.ssh/known_hosts line 6" in refusal(testbed, "host1")[0]


def test_no_python_there(testbed: Testbed) -> None:
    """A path at which there is no program, and one that is none."""
    node = {"address": "host1", "python": "/opt/env/bin/python"}

    problem, advice = refusal(testbed, node, argv=["/opt/env/bin/python", "-I"])
    assert problem.startswith("no python at '/opt/env/bin/python'")
    assert "`python:`" in advice

    problem, _ = refusal(testbed, {"address": "host1", "python": "/etc"}, argv=["/etc", "-I"])
    assert problem.startswith("'/etc' can't be run")


@pytest.mark.parametrize(
    ("text", "names"),
    [("Host host1\n  Port abc\n", "abc"), ("Host host1\n  What\n", "What"), ('Host "a\n', '"a')],
)
def test_broken_ssh_config(testbed: Testbed, ssh_folder: Path, text: str, names: str) -> None:
    """A configuration that can't be understood is named, with what is wrong in it."""
    (ssh_folder / "config").write_text(text)

    problem, _ = refusal(testbed, "host1")

    assert "~/.ssh/config can't be" in problem
    assert names in problem


def test_jump_host_troubles_name_the_jump_host(
    testbed: Testbed, ssh_folder: Path, sshd: Any
) -> None:
    """Unknown, refusing, forbidding or not getting further: each says which host it was."""
    sshd("host1", 2222, "AllowTcpForwarding=no")
    scan = "ssh-keyscan -t ed25519 -p 2222 host1 >> ~/.ssh/known_hosts"
    assert testbed.call("host0", ["sh", "-c", scan]).returncode == 0

    def why(node: str | dict[str, Any], jump: str) -> str:
        return refusal(testbed, node, proxy_jump=jump)[0]

    assert why("host2", "hots1") == "jump host hots1: unknown host name 'hots1'"
    assert why("host2", "bob@host1").startswith("jump host host1: user 'bob' was refused")
    assert why("host2", "host1:2222") == "jump host host1 forbids going on from there"
    for host, port in (("host2", 1), ("hots2", 22)):
        assert why({"address": host, "port": port}, "host1") == (
            f"jump host host1 can't connect to {host} port {port}"
        )
    assert why("host2", "host1:port") == "'host1:port' is no jump host"


def test_jump_hosts_in_a_circle(testbed: Testbed, ssh_folder: Path) -> None:
    """Two hosts, each reached over the other."""
    (ssh_folder / "config").write_text(
        "Host host1\n  ProxyJump host2\nHost host2\n  ProxyJump host1\n"
    )

    assert "the jump hosts lead in a circle" in refusal(testbed, "host1")[0]


def test_all_nodes_behind_a_dead_jump_host_fail_together(testbed: Testbed) -> None:
    """The timeout is waited for once, not once a node."""
    testbed.cut("host1")

    nodes = [{"address": f"host{k}", "port": port} for k in (2, 3, 4) for port in range(22, 29)]
    answers = connect(testbed, *nodes, proxy_jump="host1", connect_timeout_s=1)

    assert {answer["problem"] for answer in answers} == {
        "jump host host1: no answer from host1 port 22 within 1 s"
    }
    assert max(answer["seconds"] for answer in answers) < 10 < len(nodes)


def test_failing_proxy_command(testbed: Testbed, ssh_folder: Path) -> None:
    """A ProxyCommand that ends: its exit code and its last words."""
    (ssh_folder / "config").write_text("Host host1\n  ProxyCommand ls /nowhere\n")

    problem, _ = refusal(testbed, "host1")

    assert problem.startswith("the ProxyCommand 'ls /nowhere' ended with 2: ls: cannot access")
