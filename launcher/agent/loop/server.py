"""The fork server's messages, and with them whether ranks start as its forks or cold.

Without a server ranks start in interpreters of their own. Starting them is the attempt's work.
"""

from __future__ import annotations

from launcher.agent.lowlevel import signal, suppress

TYPE_CHECKING = False  # as type checkers know it; importing typing would delay every start
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from launcher.agent.forkserver.client import ForkServer, Started
    from launcher.agent.loop.attempts import Attempts
    from launcher.agent.lowlevel import Selector
    from launcher.agent.rendezvous.store import Store
    from launcher.agent.system import System
    from launcher.agent.wire import Outgoing


class StartMethod:
    """How ranks are started: by the fork server if there is one, unless ``cold``."""

    def __init__(self, started: Started) -> None:
        self.server: ForkServer | None = started.server
        self.cold = started.cold

    @property
    def fork_server(self) -> ForkServer | None:
        """The server of which ranks are to be forks; None where they start cold."""
        return None if self.cold else self.server

    @property
    def is_ready(self) -> bool:
        """Whether ranks can be started now: a cold start waits for nothing."""
        return self.cold or (self.server is not None and self.server.ready)


class ServerMessages:
    """Acts on what the fork server tells. ``end`` ends the agent with an exit code."""

    def __init__(
        self,
        method: StartMethod,
        attempts: Attempts,
        store: Store,
        out: Outgoing,
        system: System,
        end: Callable[[int], None],
    ) -> None:
        self._method, self._attempts, self._store = method, attempts, store
        self._out, self._system, self._end = out, system, end
        self._has_torch = False
        self._handlers: dict[str, Callable[[dict[str, Any]], None]] = {
            "found": self._on_found,
            "ready": self._on_ready,
            "refused": self._on_refused,
            "forked": self._on_forked,
            "exited": self._on_exited,
        }

    def receive(self, server: ForkServer, selector: Selector) -> None:
        """Act on all that is there now, and on the server's end."""
        for message in server.receive():
            handle = self._handlers.get(message["op"])
            if handle is not None:
                handle(message)
        if server.closed:
            selector.unregister(server.fileno())
            self._on_end(server)

    def _on_found(self, message: dict[str, Any]) -> None:
        self._has_torch = message["torch"] is not None
        self._out.send(
            {
                "type": "found",
                "python": message["python"],
                "torch": message["torch"],
                "no_engine": message["no_engine"],
                "problem": None,
            }
        )

    def _on_ready(self, message: dict[str, Any]) -> None:
        problem = message["problem"]
        if problem:
            self._method.cold = True
            if self._has_torch:  # else nothing will start at all
                self._out.note(f"{problem}: starting cold")
        self._attempts.launch()

    def _on_refused(self, message: dict[str, Any]) -> None:
        if not self._method.cold:
            self._method.cold = True
            names = ", ".join(f"{name}.py" for name in message["clash"][:3])
            self._out.note(
                f"your own {names} has the name of a module of python or torch: starting cold"
            )
        self._attempts.launch_cold(message["id"])

    def _on_forked(self, message: dict[str, Any]) -> None:
        if message["id"] == "store":
            self._store.taken_over(message["pid"])
        elif not self._attempts.forked(message["id"], message["pid"]):
            with suppress(ProcessLookupError):  # its attempt was ended before it came to be
                self._system.kill(message["pid"], signal.SIGKILL)

    def _on_exited(self, message: dict[str, Any]) -> None:
        self._attempts.on_exit(message["pid"], message["status"], message["peak"])

    def _on_end(self, server: ForkServer) -> None:
        """Without its server no forked rank can be followed: that is a lost agent.

        Before there are any, they start cold instead.
        """
        if server.ready:
            self._system.complain("the fork server was killed")
            self._end(1)
            return
        self._method.server, self._method.cold = None, True
        if not server.found:
            self._out.send({"type": "found", "problem": server.last_words()})
            return
        reason = server.last_words()
        self._out.note(f"importing for the fork server failed ({reason}): starting cold")
        self._store.host(None)
        self._attempts.launch()
