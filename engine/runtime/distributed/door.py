"""A door in front of torch's store: only processes of the run get in.

torch's TCPStore answers whoever connects to it, and has no way to ask who that is. So it listens
where nobody but this door can connect to, and the door listens where the ranks look for the store:
it takes each call, asks who calls, and puts the caller in its own place at the store. A caller on
this machine must be a process of our user, or root's. One on another machine must have an address
from which the run's secret word has come: each of its nodes says that word before there are ranks.

Nobody else can connect to the store behind it, since the kernel drops what comes from any port but
one; and sockets on that port, which the door holds by SO_REUSEPORT, are for our user alone.

launcher/agent/rendezvous/door.py and engine/runtime/distributed/door.py are one text, as the
packages don't import each other.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import stat
import struct
import threading
import time

TYPE_CHECKING = False  # as type checkers know it; a program may bring a typing.py of its own
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

WORD = b"plaunch "  # with what a node's word begins, which nothing that torch says does
HOLD_S, HOLD_MOST = 20.0, 256  # callers whose node has not said it, and may still do so
HOST = "127.0.0.1"
ATTACH_FILTER, NETLINK, SOCK_DIAG = 26, 16, 4  # as in linux/socket.h and linux/netlink.h
ESTABLISHED = 1
READ = 1  # epoll's
TAKE_S, HAND_ON_S = 5.0, 0.5  # for the store to take a connection, and then to wait for it


class Door:
    """Listens in the place of a store, on `front`, until it is closed.

    `word` is what the run's other nodes say first; None where all its processes are here.
    """

    def __init__(self, front: socket.socket, word: bytes | None = None) -> None:
        self._word = word
        self._is_blind = not _tells_users()
        self.lacks: str | None = None  # what this machine has not, to keep its other users out
        if self._is_blind:
            self.lacks = "neither netlink nor /proc/net/tcp says here who connects"
        self._uids = {os.geteuid(), 0}
        self._known: set[str] = set()  # addresses of nodes that have said the word
        self._here: dict[str, bool] = {}  # addresses, whether they are of this machine
        self._held: dict[int, Caller] = {}
        self._hands_on = True
        self._of_store: select.epoll | None = None
        self._calls = 0
        # The store's own first client comes by a door, too, and to the port that the store has.
        side, self._held_port = socket.socket(), socket.socket()
        side.bind((HOST, 0))
        side.listen(8)
        self.host, self.port = HOST, side.getsockname()[1]
        self._held_port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._held_port.bind(("0.0.0.0", 0))  # to keep it: nobody listens there
        self.back = _behind(self.port)
        try:
            _only_from(self.back, self._held_port.getsockname()[1])
        except OSError as error:
            self.lacks = f"the kernel takes no socket filter ({error})"
        self.back.listen(1024)
        self._fronts = {one.fileno(): one for one in (front, side)}
        self._wake, self._waker = os.pipe()
        self._epoll = select.epoll()
        self._epoll.register(self._wake, READ)
        for one in self._fronts.values():
            one.setblocking(False)
            self._epoll.register(one.fileno(), READ)
        self.thread = threading.Thread(target=self._serve, name="store-door", daemon=True)
        self.thread.start()

    def close(self) -> None:
        """Listen no more."""
        os.write(self._waker, b"x")
        self.thread.join()
        for caller in list(self._held.values()):
            self._hang_up(caller)
        made = (*self._fronts.values(), self.back, self._held_port, self._epoll, self._of_store)
        for one in made:
            if one is not None:
                one.close()
        for fd in (self._wake, self._waker):
            os.close(fd)

    def _serve(self) -> None:
        while True:
            for fd, _ in self._epoll.poll(1.0 if self._held else -1):
                if fd == self._wake:
                    return
                if fd in self._fronts:
                    self._take_calls(self._fronts[fd])
                elif fd in self._held:
                    self._listen(self._held[fd])
            self._forget_the_silent()

    # -- who calls

    def _take_calls(self, front: socket.socket) -> None:
        while True:
            try:
                sock, caller = front.accept()
            except BlockingIOError:
                return
            except OSError:  # no descriptors are left, or the caller has gone
                if self._held:
                    self._hang_up(next(iter(self._held.values())))
                else:
                    time.sleep(0.01)
                return
            try:
                sock.setblocking(False)
                self._judge(Caller(sock, caller[0]), caller)
            except OSError:
                sock.close()

    def _judge(self, caller: Caller, end: tuple[Any, ...]) -> None:
        """Let a caller in, hold it until its node is known, or hang up."""
        if self._is_of_here(caller.address):
            is_ours = self._is_blind or owner(end, caller.sock.getsockname()) in self._uids
        else:
            is_ours = caller.address in self._known
        if is_ours:
            self._let_in(caller)
        elif self._word is not None and not self._is_of_here(caller.address):
            self._hold(caller)
        else:
            caller.sock.close()

    def _is_of_here(self, address: str) -> bool:
        """Whether an address is of this machine: whoever has it can be asked for."""
        if address not in self._here:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                try:
                    probe.bind((address, 0))
                except OSError:
                    return False  # not kept: strangers would fill the table
            self._here[address] = True
        return True

    def _hold(self, caller: Caller) -> None:
        assert self._word is not None
        if len(self._held) >= HOLD_MOST:
            self._hang_up(next(iter(self._held.values())))
        self._held[caller.fd] = caller
        caller.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, len(self._word))
        self._epoll.register(caller.fd, READ)

    def _listen(self, caller: Caller) -> None:
        """Hear what a caller says whose node is not known yet; it is left for the store to read."""
        assert self._word is not None
        try:
            said = caller.sock.recv(len(self._word), socket.MSG_PEEK)
        except OSError:
            said = b""
        if _is_same(said, self._word):
            self._known.add(caller.address)
            self._hang_up(caller)
            for other in [one for one in self._held.values() if one.address == caller.address]:
                self._let_in(other)
        elif len(said) < len(self._word):
            self._hang_up(caller)
        else:  # it may be a rank's, whose node is yet to say its word
            self._epoll.unregister(caller.fd)

    def _forget_the_silent(self) -> None:
        now = time.monotonic()
        for caller in [one for one in self._held.values() if now - one.since > HOLD_S]:
            self._hang_up(caller)

    def _hang_up(self, caller: Caller) -> None:
        self._release(caller)
        caller.sock.close()

    def _release(self, caller: Caller) -> None:
        if self._held.pop(caller.fd, None) is not None:
            with contextlib.suppress(OSError):  # it is not watched any more
                self._epoll.unregister(caller.fd)
            caller.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)

    # -- into the store

    def _let_in(self, caller: Caller) -> None:
        """Connect a caller to the store."""
        self._release(caller)
        with contextlib.suppress(OSError):
            if caller.sock.recv(len(WORD), socket.MSG_PEEK | socket.MSG_DONTWAIT) == WORD:
                caller.sock.close()  # a node that is known already
                return
        back = socket.socket()
        try:
            back.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            back.bind((_address(self._calls), self._held_port.getsockname()[1]))
            self._calls += 1
            likely = os.dup(self._wake)
            os.close(likely)  # the number that the store's end will have, if nobody is quicker
            back.connect(self.back.getsockname())
            caller.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if not self._hands_on or not self._hand_on(caller.sock, back, likely):
                self._hands_on = False  # what both say is handed on instead
                for ends in ((caller.sock, back), (back, caller.sock)):
                    ends[0].setblocking(True)
                    threading.Thread(target=_pump, args=ends, daemon=True).start()
                return
        except OSError:
            pass
        back.close()
        caller.sock.close()

    def _hand_on(self, caller: socket.socket, back: socket.socket, likely: int) -> bool:
        """Put the caller in the place of our connection at the store, which then talks to it.

        The store is in this process and waits by an epoll of its own, which the caller enters.
        """
        began, name, end = time.monotonic(), back.getsockname(), None
        with contextlib.suppress(OSError):  # a sandbox without /proc
            while (waited := time.monotonic() - began) < (TAKE_S if end is None else HAND_ON_S):
                if end is None:
                    end = _end_of(name, likely, is_late=waited > 0.02)
                    began = time.monotonic() if end is not None else began
                if end is not None and self._find_epoll(end):
                    break
                time.sleep(0.0002)
        if end is None or self._of_store is None:
            return False
        os.dup2(caller.fileno(), end, inheritable=False)
        with contextlib.suppress(FileExistsError):  # the store was as quick
            self._of_store.register(end, READ)
        return True

    def _find_epoll(self, end: int) -> bool:
        """Find the epoll of the store by a connection that is in it."""
        if self._of_store is None:
            inode = f"ino:{os.fstat(end).st_ino:x}"
            for number in os.listdir("/proc/self/fdinfo"):
                with contextlib.suppress(OSError), open(f"/proc/self/fdinfo/{number}") as file:
                    if any(row.startswith("tfd:") and inode in row.split() for row in file):
                        self._of_store = select.epoll.fromfd(os.dup(int(number)))
        return self._of_store is not None


class Caller:
    """Who has called, until it is with the store."""

    def __init__(self, sock: socket.socket, address: str) -> None:
        self.sock, self.fd, self.address = sock, sock.fileno(), address
        self.since = time.monotonic()


def _end_of(name: Any, likely: int, is_late: bool) -> int | None:
    """The number, in this process, of the socket that is connected to the one of that name."""
    numbers = map(int, os.listdir("/proc/self/fd")) if is_late else [likely]
    for number in numbers:
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(os.fstat(number).st_mode):
                with socket.socket(fileno=os.dup(number)) as sock:
                    if sock.getpeername() == name:
                        return number
    return None


def _pump(one: socket.socket, other: socket.socket) -> None:
    """Hand on what one side says, until it hangs up."""
    with contextlib.suppress(OSError):
        while data := one.recv(65536):
            other.sendall(data)
    for sock in (one, other):
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
    one.close()


def served(front: socket.socket, make: Callable[..., Any], word: bytes | None = None) -> Any:
    """A store that `make(host, port, fd)` hosts on a listening socket, and the door on `front`."""
    door = Door(front, word)
    try:
        return make(door.host, door.port, door.back.fileno()), door
    except BaseException:
        door.close()
        raise


def _behind(port: int) -> socket.socket:
    """A socket on a port, on an address of its own."""
    for number in range(2, 255):
        sock = socket.socket()
        try:
            sock.bind((f"127.0.1.{number}", port))
        except OSError:
            sock.close()
            continue
        return sock
    raise OSError(f"port {port} is taken on all of this machine's own addresses")


def _address(number: int) -> str:
    """Callers behind the door have one port, and so each an address of its own."""
    return f"127.{1 + (number >> 16) % 250}.{number >> 8 & 255}.{number & 255}"


def _only_from(sock: socket.socket, port: int) -> None:
    """Have the kernel drop what comes to a TCP socket from another port. Raises OSError."""
    import ctypes

    # Load the first two bytes of the header, the caller's port; take all of the packet or none.
    rules = ((0x28, 0, 0, 0), (0x15, 0, 1, port), (0x06, 0, 0, 0xFFFFFFFF), (0x06, 0, 0, 0))
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *rule) for rule in rules))
    program = struct.pack("HP", len(rules), ctypes.addressof(code))
    sock.setsockopt(socket.SOL_SOCKET, ATTACH_FILTER, program)


# -- whose a connection is


def _tells_users() -> bool:
    """Whether a connection's owner can be found on this machine."""
    with socket.socket() as listening, socket.socket() as caller:
        try:
            listening.bind((HOST, 0))
            listening.listen(1)
            caller.connect(listening.getsockname())
            return owner(caller.getsockname(), listening.getsockname()) == os.geteuid()
        except OSError:
            return False


def owner(caller: tuple[Any, ...], called: tuple[Any, ...]) -> int | None:
    """The user of the socket at the far end of a connection of this machine.

    None if there is none, or one that has been closed since.
    """
    kind = socket.AF_INET6 if ":" in caller[0] else socket.AF_INET
    for ask in (_by_netlink, _by_table):
        for family, prefix in _forms(caller[0]):
            here, there = (prefix + socket.inet_pton(kind, end[0]) for end in (caller, called))
            with contextlib.suppress(OSError):
                found = ask(family, here, caller[1], there, called[1])
                if found is not None:
                    uid, inode = found
                    return uid if inode else None  # without inode it is one that nobody has open
    return None


def _forms(address: str) -> list[tuple[int, bytes]]:
    """Kinds of sockets that such an address may be of, with what is before its bytes there."""
    if ":" in address:
        return [(socket.AF_INET6, b"")]
    return [(socket.AF_INET, b""), (socket.AF_INET6, bytes(10) + b"\xff\xff")]


def _by_netlink(
    family: int, a: bytes, a_port: int, b: bytes, b_port: int
) -> tuple[int, int] | None:
    """User and inode of the socket at `a` that is connected to `b`, asked for by address."""
    ends = struct.pack("!HH16s16s", a_port, b_port, a, b)
    asked = ends + struct.pack("=III", 0, 0xFFFFFFFF, 0xFFFFFFFF)
    body = struct.pack("=BBBBI", family, socket.IPPROTO_TCP, 0, 0, 1 << ESTABLISHED) + asked
    with socket.socket(NETLINK, socket.SOCK_DGRAM, SOCK_DIAG) as line:
        line.settimeout(5.0)
        line.send(struct.pack("=IHHII", 16 + len(body), 20, 1, 1, 0) + body)
        answer = line.recv(65536)
    if len(answer) < 88 or struct.unpack_from("=H", answer, 4)[0] != 20:
        return None
    state, uid, inode = answer[17], *struct.unpack_from("=II", answer, 80)
    return (uid, inode) if state == ESTABLISHED and answer[20:56] == ends else None


def _by_table(family: int, a: bytes, a_port: int, b: bytes, b_port: int) -> tuple[int, int] | None:
    """The same, looked for among all connections, where the kernel can't be asked for one."""
    name = "tcp6" if family == socket.AF_INET6 else "tcp"
    ends = [f"{_words(a)}:{a_port:04X}", f"{_words(b)}:{b_port:04X}", f"{ESTABLISHED:02X}"]
    with open(f"/proc/net/{name}", encoding="ascii") as table:
        for row in table:
            fields = row.split()
            if fields[1:4] == ends:
                return int(fields[7]), int(fields[9])
    return None


def _words(address: bytes) -> str:
    return "".join(f"{word:08X}" for word in struct.unpack(f"={len(address) // 4}I", address))


def _is_same(one: bytes, other: bytes) -> bool:
    from hmac import compare_digest

    return compare_digest(one, other)
