"""The controller's messages: read from standard input, each handed to the part that acts on it.

The table of handlers is all that a controller can ask of an agent; the messages themselves are
described in launcher.core.protocol.messages.
"""

from __future__ import annotations

from launcher.agent.wire import unpacked
from launcher.core.protocol.frames import ChannelError

TYPE_CHECKING = False  # as type checkers know it; importing typing would delay every start
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from launcher.agent.loop.attempts import Attempts
    from launcher.agent.loop.heartbeat import Heartbeat
    from launcher.agent.loop.server import StartMethod
    from launcher.agent.node.requests import NodeRequests
    from launcher.agent.ranks.stdin import RankInput
    from launcher.agent.rendezvous.store import Store
    from launcher.agent.system import System
    from launcher.agent.wire import Incoming, Outgoing
    from launcher.core.protocol import messages

    Handler = Callable[[Any], None]


def handlers(
    attempts: Attempts,
    method: StartMethod,
    store: Store,
    stdin: RankInput,
    requests: NodeRequests,
    heartbeat: Heartbeat,
    out: Outgoing,
    end: Callable[[int], None],
) -> dict[str, Handler]:
    """What is done about each kind of message."""

    def start(message: messages.Start) -> None:
        heartbeat.tell_guard_at_once()  # that there is work
        attempts.start(message)

    def open_store(message: messages.OpenStore) -> None:
        out.send(store.open(message["address"], message["hosted"], message["word"]))
        store.host(method.fork_server)

    return {
        "start": start,
        "store": open_store,
        "signal": lambda message: attempts.signal(message["number"]),
        "stop": lambda message: attempts.stop(message["grace_s"]),
        "kill": lambda _: attempts.kill(),
        "stdin": lambda message: stdin.feed(unpacked(message["data"]), over=message["over"]),
        "end": lambda _: end(0),
        "beat": lambda _: None,  # it only shows that the controller is alive
        "reach": lambda message: out.send(requests.reach(message)),
        "listen": lambda message: out.send(requests.listen(message)),
        "gpus": lambda message: out.send(requests.gpus(message)),
        "lease": lambda message: out.send(requests.lease(message)),
    }


class ControllerStream:
    """Standard input. ``end`` ends the agent with an exit code: the controller has gone."""

    def __init__(
        self,
        incoming: Incoming,
        handlers: dict[str, Handler],
        heartbeat: Heartbeat,
        system: System,
        end: Callable[[int], None],
    ) -> None:
        self._incoming, self._handlers, self._heartbeat = incoming, handlers, heartbeat
        self._system, self._end = system, end

    def receive(self) -> None:
        """Act on all that has come."""
        try:
            data = self._system.read(0, 1 << 20)
        except BlockingIOError:
            return
        except OSError:  # a connection that was reset
            data = b""
        self._heartbeat.controller_heard()
        try:
            for message in self._incoming.feed(data):
                handle = self._handlers.get(message["type"])
                if handle is not None:
                    handle(message)
        except ChannelError as error:
            self._system.complain(str(error))
            self._end(1)
        if not data:
            self._end(0)
