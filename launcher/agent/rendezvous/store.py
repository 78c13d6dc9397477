"""The rendezvous store of an attempt: a listening socket first, then the process that hosts it.

The port is known at once, long before torch is imported; ranks that are quicker wait in the queue
of the socket. A job of one rank has a port and no store: the rank hosts its own if it wants one.
"""

from __future__ import annotations

from launcher.agent.forkserver.client import SERVER, ForkServer
from launcher.agent.lowlevel import READ, signal, suppress
from launcher.agent.ranks import processes

TYPE_CHECKING = False  # as type checkers know it; importing typing would delay every start
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import CodeType
    from typing import Any

    from launcher.agent.lowlevel import Selector, socket
    from launcher.agent.system import System
    from launcher.core.protocol.messages import StoreOpened


class Store:
    """At most one at a time: a new attempt's store ends the one before.

    ``sources`` are those of its process, and that of the door in front of it.
    """

    def __init__(
        self,
        python: str,
        env: Mapping[str, str],
        sources: Mapping[str, Any],
        selector: Selector,
        system: System,
        note: Callable[[str], None],
    ) -> None:
        self._python, self._env = python, env
        self._sources = [sources[name] for name in SERVER[:2]]
        self._door = sources["launcher.agent.rendezvous.door"]
        self._selector, self._system, self._note = selector, system, note
        self._socket: socket.socket | None = None  # ours until a process has taken it over
        self._word: str | None = None
        self._hosted = self._is_noted = False
        self.pid: int | None = None

    def open(self, address: str, hosted: bool, word: str | None) -> StoreOpened:
        """Take a free port of ``address``; returns the message that says which.

        What is not to be ``hosted`` is only kept from others, until the rank listens there.
        ``word`` is what the other nodes say to the door, if there are any.
        """
        try:
            take = self._system.listen_on if hosted else self._system.reserve
            sock = take(address)
        except OSError as error:
            return {"type": "store", "port": None, "problem": str(error)}
        self.end()
        self._socket, self._hosted, self._word = sock, hosted, word
        interface, port = self._system.interface_of(address), sock.getsockname()[1]
        return {"type": "store", "port": port, "interface": interface, "problem": None}

    def host(self, server: ForkServer | None) -> None:
        """Have it hosted, by a fork of the server or by an interpreter of its own."""
        if self._socket is None or not self._hosted:
            return
        fd, null = self._socket.fileno(), self._system.open_null()
        out, streams = self._note_pipe(null)
        order: dict[str, Any] = {"kind": "store", "word": self._word, **packed(self._door)}
        try:
            if server is not None:
                order |= {"op": "fork", "id": "store", "cwd": None, "env": {}, "directory": None}
                server.send(order, [*streams, fd])
                return  # the socket stays open here until the fork is there
            order_text = processes.STORE.format(order={**order, "pickled_fd": fd})
            sources = (*self._sources, order_text)
            spawn = self._system.spawn_python
            pid = spawn(self._python, sources, self._env, streams, None, (fd,))
            self.taken_over(pid)
        finally:
            self._system.close(null)
            self._system.close(out)

    def _note_pipe(self, null: int) -> tuple[int, tuple[int, int, int]]:
        """The streams of a store's process: by its output it says what its door can't do."""
        read, write = self._system.pipe()

        def hear() -> None:
            output = self._system.read(read, 1000)
            if output and not self._is_noted:
                self._is_noted = True
                why = output.decode(errors="replace")
                self._note(f"other users of this machine can reach the rendezvous store: {why}")
            if not output:
                self._selector.unregister(read)
                self._system.close(read)

        self._selector.register(read, READ, hear)
        return write, (null, write, null)

    def taken_over(self, pid: int) -> None:
        """A process hosts it now."""
        self.pid = pid
        self._close_socket()

    def end(self) -> None:
        """The attempt is over."""
        self._close_socket()
        pid, self.pid = self.pid, None
        if pid is not None:
            with suppress(ProcessLookupError):
                self._system.kill(pid, signal.SIGKILL)

    def _close_socket(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def packed(door: str | CodeType) -> dict[str, str]:
    """The door for a process that runs the same Python: compiling it would take longer than it."""
    if isinstance(door, str):
        return {"door": door}
    import binascii
    import marshal

    return {"door_code": binascii.b2a_base64(marshal.dumps(door), newline=False).decode()}
