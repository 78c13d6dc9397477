"""Nodes that call back: who gets in, who doesn't, and what is left when either side goes."""

import contextlib
import hmac
import os
import socket
import subprocess
import sys

import pytest

from launcher.clusters import dialback
from launcher.clusters.dialback import Reception, addresses_towards
from launcher.core.errors import NodeError
from launcher.core.protocol import channel
from tests.launcher.support.dialled import (
    ECHO,
    TETHERED,
    call,
    cargo,
    dialler,
    greets,
    read_all,
    rest,
)
from tests.launcher.support.runs import until


def test_a_node_that_was_invited_runs_our_code(reception: Reception) -> None:
    """Both sides prove the secret, then the code runs and talks over the same connection."""
    with dialler(reception.invite(["node1"])) as process:
        stream = reception.stream("node1", 20)
        with contextlib.closing(stream):
            words = read_all(stream, stream.admit(cargo(ECHO)), b"from the node")
            stream.write(b"again")
            assert read_all(stream, b"", b"AGAIN") == b"AGAIN"
            assert words == b"hello from the node"
        process.wait(20)


def test_one_invitation_serves_many_nodes(reception: Reception) -> None:
    """Where all get the same line, each gives the name that its scheduler has told it."""
    line = reception.invite(["a", "b"], "$SLURMD_NODENAME")
    with dialler(line, SLURMD_NODENAME="b"), dialler(line, SLURMD_NODENAME="a"):
        assert greets(reception, "a")
        assert greets(reception, "b")


def test_the_secret_is_never_sent_to_a_caller(reception: Reception) -> None:
    """What comes out of the door is a nonce, and without the right proof nothing more."""
    invitation = reception.invite(["node1"])
    with call(invitation) as stranger:
        nonce = stranger.recv(1000)
        wrong = channel.proof("guess", "agent", nonce.decode().strip(), "abc", "node1", "python")
        stranger.sendall(channel.MARKER + f"abc {wrong} node1 python\n".encode())
        heard = rest(stranger)

    assert invitation.split()[0] not in nonce + heard
    assert heard == b""
    with pytest.raises(NodeError, match="did not call back"):
        reception.stream("node1", 0.1)
    with pytest.raises(NodeError, match="last heard: srun: job is \\\\x1b queued"):
        reception.stream("node1", 0.1, errors=lambda: "starting\nsrun: job is \x1b queued\n")


def test_a_node_runs_nothing_for_one_who_does_not_know_the_secret() -> None:
    """The dialler ends when whoever answers at the door can't prove that it is the launcher."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        line = f"secret node1 127.0.0.1:{door.getsockname()[1]}\n".encode()
        with dialler(line) as process:
            caller, _ = door.accept()
            with caller:
                caller.settimeout(20)
                caller.sendall(b"nonce\n")
                answer = channel.hear_proof(caller.recv, "secret", "nonce")
                code = cargo("import os; os.write(2, b'ran')")("")
                caller.sendall(channel.admission("guess", "nonce", answer, code))
                assert process.wait(20) == 1
            assert process.stderr is not None
            assert process.stderr.read() == b"plaunch: wrong secret\n"


def test_names_are_claimed_once(reception: Reception, said: list[str]) -> None:
    """A second claimant is refused and that is said, the first goes on; so is a name of nobody."""
    line = reception.invite(["a", "b"], "$SLURMD_NODENAME")
    with dialler(line, SLURMD_NODENAME="a"):
        stream = reception.stream("a", 20)
        with contextlib.closing(stream):
            words = stream.admit(cargo(ECHO))
            for name in ("a", "stranger"):
                with dialler(line, SLURMD_NODENAME=name) as second:
                    assert second.wait(20) == 0
            assert b"hello" in read_all(stream, words, b"node")
            stream.write(b"still there")
            assert read_all(stream, b"", b"THERE") == b"STILL THERE"
    assert [text.split(" was refused")[0] for text in said] == [
        "a call from 127.0.0.1 as 'a'",
        "a call from 127.0.0.1 as 'stranger'",
    ]


def test_a_former_invitation_lets_nobody_in(reception: Reception) -> None:
    """When a node's agent is started anew, one of the round before counts no more."""
    former = reception.invite(["node1"])
    with dialler(former) as first:
        until(lambda: reception._arrived, "the first has called")
        now = reception.invite(["node1"])
        assert first.wait(20) == 0
    with dialler(former) as late:
        assert late.wait(20) == 0
    with dialler(now):
        assert greets(reception, "node1")


NARROW = """\
import contextlib, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
from launcher.clusters.dialback import Reception
with contextlib.closing(Reception(["127.0.0.1"])) as reception:
    most = reception._most
    reception._most = int(sys.argv[1] or most)
    print(reception.invite(["node1"]).decode(), end="", flush=True)
    sys.stdin.readline()
    stream = reception.stream("node1", 60)
    print("in", flush=True)
    assert len(reception._callers) <= (60 if sys.argv[1] else most)
    stream.close()
"""


@pytest.mark.parametrize("most", ["", "10000"], ids=["too-many", "no-descriptors"])
def test_silent_callers_do_not_close_the_door(most: str) -> None:
    """However many call and say nothing, and with few descriptors: who proves himself comes in."""
    with contextlib.ExitStack() as stack:
        process = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-c", NARROW, most],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=os.getcwd(),
            )
        )  # fmt: skip
        stack.callback(process.kill)
        assert process.stdin is not None
        assert process.stdout is not None
        invitation = process.stdout.readline()
        for _ in range(300):
            stack.enter_context(call(invitation))
        stack.enter_context(dialler(invitation))
        process.stdin.write(b"\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"in\n"
        assert process.wait(30) == 0


@pytest.mark.parametrize(
    "answer",
    [
        b"abc \xc3\xa9\xff node1 python\n",
        b"\n",
        b"a b c d e f\n",
        b"x" * 100_000,
        "abc proof n\u00f6de1 python\n".encode(),
    ],
)
def test_an_answer_that_is_none_is_hung_up_on(reception: Reception, answer: bytes) -> None:
    """Whatever is said instead of a proof, the door stays open for others."""
    invitation = reception.invite(["node1"])
    with call(invitation) as stranger:
        stranger.recv(1000)
        with contextlib.suppress(ConnectionError):
            stranger.sendall(channel.MARKER + answer)
        assert rest(stranger) == b""
    with dialler(invitation):
        assert greets(reception, "node1")


def test_a_proof_has_one_deadline(reception: Reception, monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte now and then buys no time: whoever hasn't proved the secret by then is let go."""
    monkeypatch.setattr(dialback, "PROOF_S", 0.5)
    with call(reception.invite(["node1"])) as stranger:
        stranger.recv(1000)
        stranger.settimeout(0.02)

        def hung_up() -> bool:
            try:
                stranger.sendall(b"x")
                return stranger.recv(10) == b""
            except TimeoutError:
                return False
            except ConnectionError:
                return True

        until(hung_up, "the door hangs up")


def test_the_tether_shows_that_the_starter_has_gone(reception: Reception) -> None:
    """The old standard input stays open beside the connection; its end is seen by the agent."""
    with dialler(reception.invite(["node1"])) as process:
        stream = reception.stream("node1", 20)
        with contextlib.closing(stream):
            read_all(stream, stream.admit(cargo(TETHERED)), b"waiting")
            assert process.stdin is not None
            process.stdin.close()
            assert b"gone" in read_all(stream, b"", b"gone")


def test_a_start_that_failed_is_told_at_once(reception: Reception) -> None:
    """Nobody waits for a call that can't come any more."""
    with pytest.raises(NodeError, match="srun said no"):
        reception.stream("node1", 60, over=lambda: "srun said no")


def test_proofs_of_the_two_sides_differ() -> None:
    """Neither side's proof is the other's, nor one for other words; keys differ by direction."""
    words = ("nonce", "mine", "node1", "python")
    assert channel.proof("s", "agent", *words) != channel.proof("s", "controller", *words)
    right = channel.proof("s", "agent", *words)
    answer = channel.proved(f"mine {right} node1 python".encode(), b"", "s", "nonce")
    assert answer is not None
    assert channel.proved(f"mine {right} node2 python".encode(), b"", "s", "nonce") is None
    assert channel.proved(f"mine {right} node1 python".encode(), b"", "s", "other") is None
    to_agent, from_agent = channel.keys("s", "nonce", answer)
    expected = hmac.new(b"s", b"to-agent nonce mine", "sha256").hexdigest()
    assert to_agent == expected.encode() != from_agent


def test_addresses_are_those_that_lead_to_the_nodes() -> None:
    """Loopback only where nothing else is; names that nobody knows are left out."""
    assert addresses_towards(["127.0.0.1", "no-such-host.invalid"]) == ["127.0.0.1"]
