"""The controller's connection to one agent: a thread that reads, one that writes, a common queue.

The writing thread sends a heartbeat whenever it had nothing else to send for a second, so a slow
or cut line holds up nobody else. What arrives is checked and goes into the queue that all links
share; what it means is decided by those who read the queue.
"""

from __future__ import annotations

import base64
import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from launcher.clusters.base import Cluster, ProvenStream, Stream, last_line
from launcher.clusters.deadline import deadline
from launcher.controller.system import THIS_PROCESS, System
from launcher.core.errors import NodeError
from launcher.core.job import Job, Node
from launcher.core.protocol import channel
from launcher.core.protocol.checks import MAX_FROM_AGENT, from_agent
from launcher.core.protocol.frames import ChannelError, Decoder, encode

if TYPE_CHECKING:
    from launcher.core.protocol.messages import ToAgent

HEARTBEAT_S = 1.0
SILENCE_S = 10.0
BACKLOG = 2000  # messages that may wait before reading stops and the agents feel it
BACKLOG_BYTES = 64 << 20
NOTES = 500  # of one agent that are shown; more is a flood


@dataclass(frozen=True)
class Lost:
    """The link's end: why, and the agent's exit code where the transport knows it."""

    reason: str
    exit_code: int | None = None


@dataclass(frozen=True)
class Event:
    """Something that happened on a node: a message of its agent, or the end of its link.

    ``link`` is where it came from, which may have been let go meanwhile; ``size`` is in bytes.
    """

    node: str
    body: channel.Message | Lost
    link: Link | None = None
    size: int = 0


class Inbox:
    """One queue for all links and for signals; bounded for messages, never for signals."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[Event | int] = SimpleQueue()
        self._room = threading.Condition()
        self._waiting = self._bytes = 0
        self.signals = 0  # how many have come
        self.last_signal: int | None = None

    def put(self, event: Event) -> None:
        """Add an event; waits while there are too many."""
        with self._room:
            while self._waiting >= BACKLOG or self._bytes > BACKLOG_BYTES:
                self._room.wait()
            self._waiting += 1
            self._bytes += event.size
        self._queue.put(event)

    def signal(self, number: int, _frame: object = None) -> None:
        """Add a signal's number: safe in a signal handler."""
        self.signals += 1
        self.last_signal = number
        self._queue.put(number)

    def get(self, timeout_s: float) -> Event | int | None:
        """The next event or signal, or None after the timeout."""
        try:
            item = self._queue.get(timeout=max(timeout_s, 0.001))
        except Empty:
            return None
        if isinstance(item, Event):
            with self._room:
                self._waiting -= 1
                self._bytes -= item.size
                self._room.notify()
        return item

    @property
    def empty(self) -> bool:
        """Whether nothing waits, so that a silent link is really silent."""
        return self._queue.empty()


def agent_config(
    job: Job,
    node: Node,
    node_rank: int,
    incarnation: int,
    *,
    files: Mapping[str, str] | None = None,
    soft_limit: int | None = None,
) -> dict[str, Any]:
    """What an agent is told with its code.

    ``files`` are the digests of the program's files on this machine (None: not to be compared),
    ``soft_limit`` is how many open files the ranks get, where the agent can't know it.
    """
    return {
        "job_id": job.id,
        "node_rank": f"{node_rank}_{incarnation}",
        "python": node.python,
        "workdir": node.workdir,
        "run_dir": job.run_dir,
        "env": {**node.env, **job.env},
        "preload": list(job.preload),
        "start": job.start,
        "kind": job.program.kind,
        "target": job.program.target,
        "args": list(job.program.args),
        "pickled": base64.b64encode(job.program.pickled).decode(),
        "compat": job.program.compat,
        "silence_s": SILENCE_S,
        "files": files,
        "soft_limit": soft_limit,
    }


class AgentMessages:
    """Bytes of an agent in, checked messages out as events, without beats and floods of notes."""

    def __init__(self, node: str, system: System, link: Link | None = None) -> None:
        self._node, self._system, self._link = node, system, link
        self._decoder = Decoder(MAX_FROM_AGENT)
        self._num_notes = 0
        self._admitted_at = 0.0  # unix time

    def admitted(self) -> None:
        """The agent gets its code now: from here on it can look at its clock."""
        self._admitted_at = self._system.unix_time()

    def feed(self, data: bytes) -> Iterator[Event]:
        """Add ``data`` and yield what is complete now. Raises ChannelError."""
        for message in self._decoder.feed(data):
            kind = from_agent(message)["type"]
            self._num_notes += kind == "note"
            if kind == "beat" or (kind == "note" and self._num_notes > NOTES):
                continue
            if kind == "probe":  # its clock is judged by this round trip
                times = {"asked_at": self._admitted_at, "heard_at": self._system.unix_time()}
                message |= times
            yield Event(self._node, message, self._link, self._decoder.size)


class Link:
    """An agent that has been started on a node."""

    def __init__(self, node: Node, inbox: Inbox, system: System = THIS_PROCESS) -> None:
        self.node, self._inbox, self._system = node, inbox, system
        self._stream: Stream | None = None
        self._outbox: SimpleQueue[ToAgent | None] = SimpleQueue()
        self._heard = system.monotonic()
        self._messages = AgentMessages(node.name, system, self)
        self._closed = False

    def open(self, cluster: Cluster, payload_for: Callable[[str], bytes]) -> None:
        """Start the agent and exchange the first words. Raises NodeError."""
        argv = [self.node.python, "-I", "-S", "-c", channel.BOOTSTRAP]
        self._stream = stream = cluster.connect(self.node, argv, {})
        if self._closed:  # meanwhile: nobody waits for it any more
            stream.close()
            raise NodeError(self.node.name, "the run ended while it was being connected")
        secret, nonce = os.urandom(32).hex(), os.urandom(16).hex()

        def admitting(python: str) -> bytes:
            payload = payload_for(python)
            self._messages.admitted()
            return payload

        with deadline(cluster.first_words_s, stream.close) as too_late:
            try:
                if isinstance(stream, ProvenStream):
                    rest = stream.admit(admitting)
                else:
                    rest = channel.greet(stream.read, stream.write, secret, nonce, admitting)
            except (ChannelError, OSError) as error:
                # A shell may have taken the secret for a command, and printed it.
                seen = str(error).replace(secret, "...")
                if self._closed:
                    raise NodeError(self.node.name, "the run ended meanwhile") from error
                if too_late.is_set():
                    text = stream.errors().replace(secret, "...") or seen
                    raise unanswered(self.node, cluster.first_words_s, text) from error
                raise explain(self.node, stream, seen) from error
        self._heard = self._system.monotonic()
        self._system.begin(lambda: self._read(stream, rest))
        self._system.begin(lambda: self._write(stream))

    def send(self, message: ToAgent) -> None:
        """Queue a message for the agent; never waits."""
        self._outbox.put(message)

    def silent_for(self) -> float:
        """Seconds since anything came from the agent."""
        return self._system.monotonic() - self._heard

    def give_grace(self) -> None:
        """Start judging silence anew, after we ourselves stood still."""
        self._heard = self._system.monotonic()

    def close(self) -> None:
        """Let the stream go: the agent then ends its ranks and itself."""
        if not self._closed:
            self._closed = True
            self._outbox.put(None)
            if self._stream is not None:
                self._stream.close()

    def wait(self, timeout_s: float) -> int | None:
        """The exit code of the agent's guard, which ends last, or None after the timeout."""
        return self._stream.wait(timeout_s) if self._stream is not None else None

    def _read(self, stream: Stream, rest: bytes) -> None:
        reason, code = "the connection was closed", None
        # Where the agent called us, its starter may follow many agents, and knows an exit code only
        # when all have ended.
        patience_s: float | None = 0.0 if isinstance(stream, ProvenStream) else 2.0
        try:
            self._take_in(stream, rest)
        except ChannelError as error:
            reason, patience_s = str(error), None
        except Exception as error:  # whatever it is, the node is lost and the run is not
            reason = f"the connection broke: {error}"
        if patience_s is not None and not self._closed:
            code = stream.wait(patience_s)
        if code is not None:
            reason = explain_end(code, stream.errors())
        # A link that was closed reports nothing more: the node may have a new agent by now.
        if not self._closed:
            self._inbox.put(Event(self.node.name, Lost(reason, code), self))

    def _take_in(self, stream: Stream, rest: bytes) -> None:
        """Read until the stream ends. Raises ChannelError for what no agent of ours sends."""
        data = rest
        while True:
            for event in self._messages.feed(data):
                if not self._closed:
                    self._inbox.put(event)
            data = stream.read(1 << 20)
            self._heard = self._system.monotonic()
            if not data:
                return

    def _write(self, stream: Stream) -> None:
        with contextlib.suppress(OSError):
            while True:
                message: ToAgent | None
                try:
                    message = self._outbox.get(timeout=HEARTBEAT_S)
                except Empty:
                    message = {"type": "beat"}
                if message is None:
                    return
                stream.write(encode(message))


def explain_end(code: int, errors: str) -> str:
    """How an agent ended, in words."""
    number = -code if code < 0 else code - 128
    if number > 0:
        return f"its agent was killed by signal {number}"
    last = errors.strip().splitlines()[-1:] or ["no message"]
    return f"its agent ended with code {code}: {last[0]}"


def unanswered(node: Node, seconds: float, output: str) -> NodeError:
    """No agent came up in time on a node that could be reached."""
    line = last_line(output)
    return NodeError(
        node.name,
        f"connected, but no answer within {seconds:g} s; "
        + (f"it last said: {line}" if line else "it said nothing"),
        f"does this end there: {node.python} -I -c 'print(1)'? A login shell that asks something "
        "or starts another one (~/.bashrc), or a disk that hangs, stands in the way",
    )


def explain(node: Node, stream: Stream, seen: str) -> NodeError:
    """Why no agent came up on a node that could be reached."""
    from launcher.clusters.ssh.errors import explain_exit

    code = stream.wait(2.0)
    errors = stream.errors().strip()
    stream.close()
    last = last_line(errors or seen) or "it said nothing"
    known = explain_exit(node, code, errors)
    if known is not None:
        return known
    return NodeError(
        node.name,
        f"the agent did not start (exit code {code}): {last}",
        f"try on the node: {node.python} -I -c 'print(1)'",
    )
