"""The agent: its parts put together, and the one thread that waits for what happens on its node.

It hears the controller on its standard input, the fork server on a socket pair, the ranks on their
output pipes and on a unix socket, the kernel by signals, and its guard by a pipe. What is done
about each is in launcher.agent.loop. When the controller is gone or silent it ends the ranks and
itself.
"""

from __future__ import annotations

import sys

from launcher.agent.loop.attempts import CHECK_EVERY_S, Attempts, Launch, RankStreams
from launcher.agent.loop.controller import ControllerStream, handlers
from launcher.agent.loop.heartbeat import HEARTBEAT_S, Heartbeat
from launcher.agent.loop.server import ServerMessages, StartMethod
from launcher.agent.loop.signals import Signals
from launcher.agent.lowlevel import READ
from launcher.agent.node.requests import NodeRequests
from launcher.agent.ranks.outputs import Outputs
from launcher.agent.ranks.reports import RankReports
from launcher.agent.ranks.stdin import RankInput
from launcher.agent.rendezvous.store import Store
from launcher.agent.wire import Incoming, Outgoing, RankLines

TYPE_CHECKING = False  # as type checkers know it; importing typing would delay every start
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from launcher.agent.forkserver.client import Started
    from launcher.agent.lowlevel import Selector
    from launcher.agent.system import System
    from launcher.core.protocol.messages import Probe


class Loop:
    """Waits for files and acts on them, until somebody has said with which code it ends."""

    def __init__(self, selector: Selector) -> None:
        self.selector = selector
        self.exit_code: int | None = None

    def end(self, code: int) -> None:
        """This was the last turn; the first code counts."""
        self.exit_code = code if self.exit_code is None else self.exit_code

    def watch(self, fd: int, action: Callable[[], None]) -> None:
        """Do this whenever there is something to read."""
        self.selector.register(fd, READ, action)

    def wait(self, timeout_s: float) -> None:
        """Wait for something to happen, and act on it."""
        for fd, action in self.selector.wait(timeout_s):
            # An action before may have closed this one: a rank's end drains all that it said.
            if self.exit_code is None and self.selector.action(fd) is action:
                action()


def run(
    config: dict[str, Any],
    sources: dict[str, Any],
    guard: tuple[int, int],
    folder: str,
    started: Started,
    system: System,
) -> int:
    """One node's part of a run: work until the controller ends it or goes; returns the exit code.

    ``guard`` are the descriptors on which the guard's end is seen, and our pulse is told.
    """
    loop = Loop(system.selector())
    selector, end = loop.selector, loop.end
    key_in, key_out = config["keys"] or (None, None)
    out = Outgoing(1, selector, system, key_out)
    reports = RankReports(lambda: attempts.group, out.send, out.note)
    lines = RankLines(folder, selector, system, reports.hear, reports.complain)
    store = Store(config["python"], started.env, sources, selector, system, out.note)
    requests = NodeRequests(config["job_id"], sources, started.env, system)
    stdin = RankInput(selector, system)
    streams = RankStreams(Outputs(selector, out, system), stdin, lines, reports)
    method = StartMethod(started)
    launch = Launch(config, sources, started, folder)
    attempts = Attempts(launch, method, streams, store, out, system, end)
    heartbeat = Heartbeat(out, guard[1], config["silence_s"], system)
    orders = handlers(attempts, method, store, stdin, requests, heartbeat, out, end)
    controller = ControllerStream(Incoming(key_in), orders, heartbeat, system, end)
    server = ServerMessages(method, attempts, store, out, system, end)
    try:
        signals = Signals(config["tether"] is not None, attempts, out, system, end)
        loop.watch(signals.fileno(), signals.receive)
        _tell_of_start(started, out)
        if started.server is not None:
            _watch_server(loop, server, started)
        signals.reap()
        loop.watch(0, controller.receive)
        loop.watch(guard[0], lambda: end(1))
        if config["tether"] is not None:
            _watch_tether(loop, config["tether"], system)
        probe: Probe = {"type": "probe", **system.facts(config)}
        out.send(probe)
        while loop.exit_code is None:
            loop.wait(CHECK_EVERY_S if attempts.ending else HEARTBEAT_S / 2)
            now = system.monotonic()
            heartbeat.turn(now, has_ranks=attempts.group is not None)
            if heartbeat.controller_is_silent(now):
                end(1)
            attempts.turn(now)
            lines.hold(out.backed_up)
    finally:
        if attempts.group is not None:
            attempts.group.kill()
        system.sweep(started.mark, {system.parent()}, reap=True)
        out.flush(timeout_s=1.0)
    return loop.exit_code or 0


def _tell_of_start(started: Started, out: Outgoing) -> None:
    """What the start has decided, and what of python was found where no fork server tells it."""
    for note in started.notes:
        out.note(note)
    if started.server is None:
        python = sys.version.split()[0]
        out.send({"type": "found", "python": python, "problem": started.problem})


def _watch_server(loop: Loop, messages: ServerMessages, started: Started) -> None:
    server = started.server
    assert server is not None
    loop.watch(server.fileno(), lambda: messages.receive(server, loop.selector))


def _watch_tether(loop: Loop, tether: int, system: System) -> None:
    """Its end means that whoever started us has gone."""

    def read() -> None:
        if not system.read(tether, 4096):
            loop.end(0)

    loop.watch(tether, read)
