"""Somebody between a node and the launcher: nothing that it changes is taken for the other's."""

from __future__ import annotations

import contextlib
import marshal
import socket
import sys
import threading
import zlib
from collections.abc import Callable

import pytest

from launcher.clusters.base import ProvenStream
from launcher.clusters.dialback import Reception
from launcher.controller.agents.bundle import AgentBundle
from launcher.controller.agents.link import Event, Inbox, Link, Lost, agent_config
from launcher.core.job import Job, Node, Program
from launcher.core.protocol.frames import ChannelError
from tests.launcher.support.dialled import ECHO, cargo, dialler, door_of, read_all


class Relay:
    """Somebody between a node and the launcher, without the secret: what it may do is ``change``.

    It passes on all that comes; what goes to the node goes through ``to_node``, what comes from it
    through ``from_node``.
    """

    def __init__(self, invitation: bytes) -> None:
        self._place = door_of(invitation)
        self._door = socket.create_server(("127.0.0.1", 0))
        words = invitation.split()
        port = self._door.getsockname()[1]
        self.invitation = b"%s %s 127.0.0.1:%d\n" % (words[0], words[1], port)
        self.to_node: Callable[[bytes], bytes] = bytes
        self.from_node: Callable[[bytes], bytes] = bytes
        self._ends: list[socket.socket] = []
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            node, _ = self._door.accept()
            launcher = socket.create_connection(self._place, 20)
            launcher.settimeout(None)
            self._ends = [node, launcher]
            threading.Thread(target=self._pump, args=(launcher, node, "to_node")).start()
            self._pump(node, launcher, "from_node")

    def _pump(self, source: socket.socket, target: socket.socket, way: str) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 20):
                target.sendall(getattr(self, way)(data))
            target.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Cut all lines."""
        for end in (self._door, *self._ends):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


def test_a_relay_can_not_replace_the_code(reception: Reception) -> None:
    """Whoever passes both proofs on, and then other code of the same size, gets nothing run."""
    theirs, evil = "import os; os.write(2, b'good'); os._exit(0)", "import os; os.write(2, b'evil')"
    payload = cargo(theirs)("")
    with contextlib.closing(Relay(reception.invite(["node1"]))) as relay:
        forged = zlib.compress(marshal.dumps({"launcher.agent.boot": evil}, 2))
        relay.to_node = lambda data: data.replace(payload, forged.ljust(len(payload), b" "))
        with dialler(relay.invitation) as process:
            stream = reception.stream("node1", 20)
            with contextlib.closing(stream):
                stream.admit(lambda _: payload)
                assert process.wait(20) == 1
            assert process.stderr is not None
            assert process.stderr.read() == b"plaunch: this code is not the launcher's\n"


@pytest.mark.parametrize("change", ["flip", "repeat"])
def test_a_relay_can_not_change_what_is_said(reception: Reception, change: str) -> None:
    """A record that was changed, or comes twice, ends the connection with a reason."""
    changes = {"flip": lambda data: data.replace(b"AGAIN", b"NEVER"), "repeat": lambda d: d * 2}
    relay = Relay(reception.invite(["node1"]))
    with contextlib.closing(relay), dialler(relay.invitation) as process:
        stream = reception.stream("node1", 20)
        with contextlib.closing(stream):
            read_all(stream, stream.admit(cargo(ECHO)), b"from the node")
            stream._call.settimeout(30)
            relay.from_node = changes[change]
            stream.write(b"again")
            with pytest.raises(ChannelError, match="somebody else has written"):
                read_all(stream, b"", b"nothing like that")
        process.wait(20)


class Called:
    """A cluster of one node that has called."""

    name = "called"
    first_words_s = 20.0

    def __init__(self, stream: ProvenStream) -> None:
        self._stream = stream

    def connect(self, *_: object) -> ProvenStream:
        return self._stream


def test_a_relay_can_not_give_orders_to_an_agent(reception: Reception) -> None:
    """The real agent takes nothing that was touched: it ends, and its node is lost."""
    node, inbox = Node("node1", "127.0.0.1", python=sys.executable), Inbox()
    config = agent_config(Job("j", Program("program", "true"), run_dir="/nowhere"), node, 0, 1)
    relay = Relay(reception.invite(["node1"]))
    with contextlib.closing(relay), dialler(relay.invitation) as process:
        link = Link(node, inbox)
        link.open(Called(reception.stream("node1", 30)), AgentBundle().with_config(config))  # type: ignore[arg-type]
        with contextlib.closing(link):
            kinds = [body["type"] for _ in range(2) if isinstance(body := told(inbox), dict)]
            assert sorted(kinds) == ["found", "probe"]
            relay.to_node = lambda data: data[:-1] + bytes([data[-1] ^ 1])
            assert process.wait(30) == 1  # at the latest with the next heartbeat
            assert isinstance(told(inbox), Lost)
        assert process.stderr is not None
        assert b"somebody else has written into the connection" in process.stderr.read()


def told(inbox: Inbox) -> object:
    """What a node says next."""
    event = inbox.get(30)
    assert isinstance(event, Event)
    return event.body
