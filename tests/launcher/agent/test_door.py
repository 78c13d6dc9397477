"""Who gets to the store of a run: processes of our user here, and the run's nodes, nobody else."""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from launcher.agent.rendezvous import door as doors
from launcher.agent.rendezvous.door import Door
from tests.launcher.support.runs import Launcher, until
from tests.support import forkserver

ROOT = Path(__file__).parents[3]
NOBODY = 65534
WORD = b"plaunch 0123456789abcdef"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")


class Echo:
    """In the place of the store: says again what it hears, to each caller."""

    def __init__(self, listening: socket.socket) -> None:
        self.callers: list[socket.socket] = []
        self._listening = listening
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while self._listening.fileno() >= 0:
            with contextlib.suppress(OSError):
                caller, _ = self._listening.accept()
                self.callers.append(caller)
                threading.Thread(target=self._answer, args=(caller,), daemon=True).start()

    def _answer(self, caller: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := caller.recv(65536):
                caller.sendall(data)
            caller.close()


class AwayDoor(Door):
    """A door that takes 127.0.0.0/8 but for 127.0.0.1 for other machines."""

    def _is_of_here(self, address: str) -> bool:
        return address == "127.0.0.1"


def front() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


@contextlib.contextmanager
def opened(kind: type[Door] = Door, word: bytes | None = None) -> Iterator[tuple[Door, int]]:
    """A door with an echo behind it, and the port that it listens on."""
    listening = front()
    port = listening.getsockname()[1]
    door = kind(listening, word)
    Echo(door.back)
    try:
        yield door, port
    finally:
        door.back.shutdown(socket.SHUT_RDWR)  # the echo ends
        door.close()


def call(port: int, said: bytes, source: str = "127.0.0.1", timeout_s: float = 20.0) -> bytes:
    """What one hears who says something; nothing if the other end hangs up."""
    with socket.create_connection(("127.0.0.1", port), timeout_s, (source, 0)) as line:
        line.sendall(said)
        heard = b""
        with contextlib.suppress(ConnectionError):
            while len(heard) < len(said) and (data := line.recv(65536)):
                heard += data
        return heard


def called_by(uid: int, port: int, said: bytes = b"hello") -> bytes:
    """What another user hears."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.setuid(uid)
            line = socket.socket()  # what creates connections imports more, which he may not read
            line.settimeout(20)
            line.connect(("127.0.0.1", port))
            with contextlib.suppress(ConnectionError):
                line.sendall(said)
                os.write(write, line.recv(100))
            code = 0
        finally:
            os._exit(code)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        ready, _, _ = select.select([pipe], [], [], 60)
        heard = pipe.read() if ready else b""
    if not ready:
        os.kill(pid, signal.SIGKILL)
    assert os.waitpid(pid, 0)[1] == 0
    return heard


FOLDERS = ("launcher/agent/rendezvous", "engine/runtime/distributed")


def test_the_door_is_one_text() -> None:
    """Launcher and engine don't import each other: each has the door, and they don't differ."""
    texts = {(ROOT / name / "door.py").read_text() for name in FOLDERS}

    assert len(texts) == 1


def test_a_process_of_our_user_gets_through() -> None:
    """Many at once, over IPv4 and IPv6 sockets; what is said arrives whole, in both directions."""
    with opened() as (_, port):
        heard = [call(port, bytes([n]) * 300_000) for n in range(5)]
        with socket.create_connection(("::ffff:127.0.0.1", port), 20) as line:
            line.sendall(b"six")
            six = line.recv(10)

    assert heard == [bytes([n]) * 300_000 for n in range(5)]
    assert six == b"six"


def test_what_is_said_last_arrives() -> None:
    """One who says much and goes at once has said all of it."""
    said = b"x" * 5_000_000
    listening = front()
    door = Door(listening)
    try:
        with ThreadPoolExecutor(1) as pool:
            taken = pool.submit(door.back.accept)
            with socket.create_connection(listening.getsockname(), 20) as line:
                line.sendall(said)
            behind, heard = taken.result(20)[0], 0
        with behind:
            while data := behind.recv(1 << 20):
                heard += len(data)
    finally:
        door.close()

    assert heard == len(said)


@as_root
def test_another_user_is_refused() -> None:
    """He reaches the port and is hung up on; our own processes still get in, then and later."""
    with opened() as (_, port):
        heard = called_by(NOBODY, port)
        ours = call(port, b"hello")

    assert (heard, ours) == (b"", b"hello")


@as_root
def test_the_store_behind_is_reached_by_nobody_else() -> None:
    """The kernel drops who calls there from a port of his own, and nobody else gets that port."""
    with opened() as (door, _):
        host, port = door.back.getsockname()
        with pytest.raises(TimeoutError):
            socket.create_connection((host, port), 0.3)
        only = door._held_port.getsockname()[1]
        pid = os.fork()
        if pid == 0:
            os.setuid(NOBODY)
            sock = socket.socket()
            for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
                sock.setsockopt(socket.SOL_SOCKET, option, 1)
            try:
                sock.bind(("127.0.0.77", only))
            except OSError:
                os._exit(7)
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    assert code == 7, "another user has bound the port"


def test_a_node_is_known_by_its_word() -> None:
    """Before its word comes, a node's ranks wait; a stranger waits in vain, whatever it says."""
    with opened(AwayDoor, WORD) as (door, port), contextlib.ExitStack() as stack:
        early = stack.enter_context(
            socket.create_connection(("127.0.0.1", port), 20, ("127.0.0.5", 0))
        )
        early.sendall(b"early")
        until(lambda: door._held, "it is held")
        assert call(port, WORD, "127.0.0.5") == b""
        assert early.recv(10) == b"early"
        assert call(port, b"later", "127.0.0.5") == b"later"

        wrong = stack.enter_context(
            socket.create_connection(("127.0.0.1", port), 20, ("127.0.0.6", 0))
        )
        wrong.sendall(WORD[:-1] + b"x")
        until(lambda: door._held, "it is held, too")
        with pytest.raises(TimeoutError):
            call(port, b"\0not torch's", "127.0.0.6", timeout_s=0.2)
        assert "127.0.0.6" not in door._known


def test_the_silent_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who says no word is hung up on in time, and the oldest at once where they are too many."""
    monkeypatch.setattr(doors, "HOLD_MOST", 3)
    with opened(AwayDoor, WORD) as (_, port), contextlib.ExitStack() as stack:
        lines = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), 60, ("127.0.0.6", 0)))
            for _ in range(5)
        ]
        assert [lines[0].recv(1), lines[1].recv(1)] == [b"", b""]
        monkeypatch.setattr(doors, "HOLD_S", 0.0)
        assert lines[4].recv(1) == b""


def test_no_other_machine_is_let_in_where_a_run_has_one() -> None:
    """A run of one machine knows no word: nobody from elsewhere is even held."""
    with opened(AwayDoor) as (door, port):
        heard = call(port, b"hello", "127.0.0.5")

    assert (heard, door._known) == (b"", set())


def test_descriptors_run_out_and_it_lives() -> None:
    """As many callers as there are descriptors don't end it: those who come after them get in."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with opened() as (_, port):
        lines = []
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 20, hard))
        try:
            with contextlib.suppress(OSError):
                while True:
                    lines.append(socket.create_connection(("127.0.0.1", port), 20))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for line in lines:
                line.close()
        heard = call(port, b"after them")

    assert lines
    assert heard == b"after them"


def test_a_socket_that_is_gone_has_no_owner() -> None:
    """Root is nobody's stand-in: a connection that was closed at the far end is not judged his."""
    with front() as listening:
        caller = socket.create_connection(listening.getsockname(), 20)
        called, address = listening.accept()
        known = doors.owner(address, called.getsockname())
        by_table = [
            doors._by_table(family, prefix + here, address[1], prefix + here, there)
            for family, prefix in doors._forms(address[0])
            for here, there in [(socket.inet_aton("127.0.0.1"), listening.getsockname()[1])]
        ]
        caller.close()
        with called:
            gone = doors.owner(address, called.getsockname())

    assert (known, gone) == (os.geteuid(), None)
    assert by_table[0] is not None
    assert by_table[0][0] == os.geteuid(), "the two ways to ask agree"


HANDED_ON = """\
import os, socket, sys, torch
from torch.distributed import TCPStore
from launcher.agent.ranks import torch_parts
from launcher.agent.rendezvous import door

front = socket.create_server(("127.0.0.1", 0))
port = front.getsockname()[1]
store, one = door.served(front, torch_parts.store_on)
if sys.argv[1] == "relayed":
    one._hands_on = False
clients = [TCPStore("127.0.0.1", port) for _ in range(20)]
for number, client in enumerate(clients):
    client.set(f"key-{number}", "x" * (1 << number))
assert all(len(store.get(f"key-{n}")) == 1 << n for n in range(20))
assert all(len(clients[19 - n].get(f"key-{n}")) == 1 << n for n in range(20))
assert [client.add("sum", 1) for client in clients] == list(range(1, 21))
del clients, client
assert TCPStore("127.0.0.1", port).get("sum") == b"20"
print("handed on" if one._hands_on else "relayed")
"""


@pytest.mark.parametrize("how", ["handed on", "relayed"])
def test_callers_talk_to_torch_s_store(how: str, plaunch: Launcher) -> None:
    """Those that are let in come in the door's place at the store; where that can't be, all that is
    said is handed on. Either way many talk to it, at length, and come and go."""
    script = plaunch.write("talk.py", HANDED_ON)
    done = forkserver.shared().start([script, how], env=dict(os.environ), cwd=plaunch.folder)
    out, err = done.communicate(timeout=120)

    assert done.returncode == 0, err
    assert out.strip() == how


ATTACKED = """\
import os, socket, sys, torch.distributed as dist
from torch.distributed import TCPStore

address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
dist.init_process_group("gloo")
if dist.get_rank() == 0:
    dist.distributed_c10d._get_default_store().set("secret", "of the run")
    pid = os.fork()
    if pid == 0:
        os.setuid(65534)
        line = socket.socket()
        line.connect((address, port))
        try:
            line.sendall(b"\\0\\x01\\x02\\x03\\x04" * 10)
            print("heard", line.recv(100), flush=True)
        except ConnectionError:
            print("heard b''", flush=True)
        os._exit(0)
    os.waitpid(pid, 0)
dist.barrier()
print("done", flush=True)
"""


@as_root
def test_a_run_s_store_is_closed_to_other_users(plaunch: Launcher) -> None:
    """While a run has its store, another user of the machine connects, and is hung up on."""
    done = plaunch("--procs", "2", plaunch.write("attacked.py", ATTACKED)).ok()

    assert "heard b''" in done.out
    assert done.out.count("done") == 2
