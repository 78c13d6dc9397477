"""All agents of a run: started at once, asked together, let go together.

Which nodes they are, and what is asked of them, is decided elsewhere.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from launcher.clusters.base import Cluster
from launcher.controller.agents.bundle import AgentBundle
from launcher.controller.agents.link import Event, Inbox, Link, Lost, agent_config
from launcher.controller.system import THIS_PROCESS, Background, System
from launcher.core.console.console import Output
from launcher.core.errors import ClusterError, NodeError
from launcher.core.job import Job, Node
from launcher.core.limits import own_soft_limit
from launcher.core.nodelist import fold, natural_key
from launcher.core.protocol.channel import Message

if TYPE_CHECKING:
    from launcher.core.protocol.messages import Nothing, ToAgent

PARALLEL = 32
ANSWER_S = 60.0
CONNECTING_S = 2.0  # for nodes that are still being connected to, once the run has ended
SAY_AFTER_S = 10.0  # that we still wait, and for whom

# What is waited for, and what to do about a node that does not answer: by the missing answer.
UNANSWERED = {
    "probe": (
        "its agent has started, but it tells nothing of the node",
        "a disk of the network may hang there: does this end there? ls {workdir} {run_dir}",
    ),
    "found": (
        "its python has not come up",
        "does this end there? {python} -c 'import torch'",
    ),
    "gpus": ("its GPU driver does not answer", "does this end there? nvidia-smi"),
}


class Interrupted(Exception):
    """A signal came before there were ranks to hand it to."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextlib.contextmanager
def signals_into(inbox: Inbox) -> Iterator[None]:
    """Signals become events while this lasts; handlers do nothing else. Main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        for number, handler in before.items():
            # A shell's ``nohup`` and background jobs have a signal ignored on purpose.
            if handler is not signal.SIG_IGN:
                signal.signal(number, inbox.signal)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Fleet:
    """The links to all nodes of a run."""

    def __init__(
        self,
        job: Job,
        cluster: Cluster,
        inbox: Inbox,
        output: Output,
        system: System = THIS_PROCESS,
        make_link: Callable[[Node, Inbox, System], Link] = Link,
    ) -> None:
        self._job, self._cluster = job, cluster
        self.system, self._make_link = system, make_link
        self.inbox, self._output = inbox, output
        self.links: dict[str, Link] = {}
        self.problems: list[NodeError] = []
        self._bundle = AgentBundle()
        self._incarnation = 0
        self._opening: Background | None = None
        self._connecting: dict[str, Link] = {}
        self._signals_before = 0
        self._lock = threading.Lock()
        self._closed = False
        self._failed: BaseException | None = None
        self._last_check = system.monotonic()

    @property
    def one_machine(self) -> bool:
        """Whether all nodes are parts of this machine."""
        return self._cluster.one_machine

    @property
    def inherited_stdin(self) -> int | None:
        """Our standard input as the agents have inherited it, if they have."""
        return self._cluster.inherited_stdin

    def nodes(self) -> tuple[Node, ...]:
        """All nodes of the cluster, which may have to be waited for.

        Raises ClusterError and Interrupted.
        """
        return self._unless_interrupted(self._cluster.nodes)

    def _unless_interrupted(
        self, ask: Callable[[Callable[[], bool]], tuple[Node, ...]]
    ) -> tuple[Node, ...]:
        """Ask the cluster for nodes, which it gives up when a signal comes."""
        before = self.inbox.signals
        try:
            return ask(lambda: self.inbox.signals > before)
        except ClusterError:
            while self.inbox.signals > before:
                event = self.inbox.get(0)
                if isinstance(event, int):
                    raise Interrupted(event) from None
            raise

    @property
    def in_slurm(self) -> bool:
        """Whether SLURM has given us the nodes."""
        return self._cluster.in_slurm_job

    def begin(self, nodes: Sequence[Node], signals_before: int = 0) -> None:
        """Start an agent on every node at once, in the background: :meth:`opened` waits for them.

        Signals beyond ``signals_before`` then end the wait.
        """
        self._signals_before = signals_before
        self._opening = self.system.begin(lambda: self._open(nodes))

    def opened(self) -> None:
        """Wait for the agents that were begun; what failed is then in ``problems``.

        Raises Interrupted if a signal comes first, and ClusterError if the cluster can't start
        anything on these nodes together.
        """
        say_at = self.system.monotonic() + SAY_AFTER_S
        while self._opening is not None:
            self._opening.join(0.2)
            if not self._opening.is_alive():
                self._opening = None
            elif self.inbox.signals > self._signals_before:
                assert self.inbox.last_signal is not None
                raise Interrupted(self.inbox.last_signal)
            elif self.system.monotonic() > say_at:
                say_at = float("inf")
                self._say_waiting(list(self._connecting), "to be connected")
        failed, self._failed = self._failed, None
        if failed is not None:
            raise failed

    def _say_waiting(self, names: Sequence[str], what: str) -> None:
        if names:
            self._output.say(f"still waiting for {fold(sorted(names, key=natural_key))} {what}")

    def _open(self, nodes: Sequence[Node]) -> None:
        try:
            self._start_agents(nodes)
        except BaseException as error:
            self._failed = error

    def _start_agents(self, nodes: Sequence[Node]) -> None:
        self._cluster.prepare(nodes)
        self._incarnation += 1
        incarnation = self._incarnation
        known = self._known_to_agents()

        def start(numbered: tuple[int, Node]) -> Link | NodeError:
            node_rank, node = numbered
            config = agent_config(self._job, node, node_rank, incarnation, **known)
            config["stdin"] = self._cluster.inherited_stdin
            link = self._make_link(node, self.inbox, self.system)
            self._connecting[node.name] = link
            try:
                link.open(self._cluster, self._bundle.with_config(config))
            except NodeError as error:
                return error
            finally:
                del self._connecting[node.name]
            with self._lock:
                if not self._closed:
                    self.links[node.name] = link
                    return link
            link.close()  # we were interrupted, and nobody waits for it any more
            return link

        opened = self.system.in_parallel(start, list(enumerate(nodes)), PARALLEL)
        self.problems += [result for result in opened if isinstance(result, NodeError)]

    def open_instead(self, lost: Sequence[Node], count: int) -> list[Node]:
        """Start agents on nodes that can stand in for lost ones, ``count`` if there are as many.

        Raises ClusterError if the cluster itself is gone, and Interrupted.
        """
        signals_before = self.inbox.signals
        candidates = list(self._unless_interrupted(lambda stop: self._cluster.replace(lost, stop)))
        opened: list[Node] = []
        while candidates and len(opened) < count:
            tried, candidates = candidates[: count - len(opened)], candidates[count - len(opened) :]
            self.begin(tried, signals_before)
            self.opened()
            opened += [node for node in tried if node.name in self.links]
        return opened

    def _known_to_agents(self) -> dict[str, Any]:
        """What agents are told of this machine: the program's files, or its limits if it is theirs.

        A function travels by itself, and on one machine there is but one copy of a program.
        """
        program = self._job.program
        if self.one_machine:
            return {"soft_limit": own_soft_limit()}
        if program.kind == "function":
            return {}
        from launcher.agent.node.program_files import digests

        return {"files": digests(program.kind, program.target, os.getcwd())}

    def drop(self, name: str, reason: str, advice: str = "") -> None:
        """Let a node's agent go and remember why."""
        link = self.links.pop(name, None)
        if link is not None:
            link.close()
            self.problems.append(NodeError(name, reason, advice))

    def tell(self, message: ToAgent, names: Sequence[str] | None = None) -> None:
        """Send a message to all agents, or to some."""
        for name in names if names is not None else list(self.links):
            if name in self.links:
                self.links[name].send(message)

    def next_event(self, timeout_s: float) -> Event | int | None:
        """The next event or signal; None after the timeout, or for what a link let go has left."""
        event = self.inbox.get(timeout_s)
        if isinstance(event, Event) and event.link not in (None, self.links.get(event.node)):
            return None
        return event

    def ask(
        self,
        orders: Mapping[str, ToAgent | Nothing],
        answers: Sequence[str],
        timeout_s: float = ANSWER_S,
    ) -> dict[str, dict[str, Message]]:
        """Send each node its order and wait for all the named answers of each.

        Returns answers by node and type. A node that is lost on the way is dropped. An order may
        be empty, where the agent speaks by itself. Raises Interrupted.
        """
        for name, order in orders.items():
            if order:
                self.tell(order, [name])
        received: dict[str, dict[str, Message]] = {name: {} for name in orders}
        give_up = self.system.monotonic() + timeout_s
        say_at = self.system.monotonic() + SAY_AFTER_S

        def waiting() -> list[str]:
            return [
                name
                for name, so_far in received.items()
                if name in self.links and len(so_far) < len(answers)
            ]

        while waiting():
            event = self.next_event(min(0.5, give_up - self.system.monotonic()))
            if isinstance(event, int):
                raise Interrupted(event)
            if event is not None:
                self._take_answer(event, answers, received)
            if self.system.monotonic() > say_at:
                say_at = float("inf")
                self._say_waiting(waiting(), f"to answer ({', '.join(answers)})")
            if self.system.monotonic() > give_up:
                for name in waiting():
                    missing = next(answer for answer in answers if answer not in received[name])
                    self._drop_silent(name, missing, timeout_s)
        return received

    def _drop_silent(self, name: str, missing: str, timeout_s: float) -> None:
        node = self.links[name].node
        what, advice = UNANSWERED.get(missing, ("no answer", ""))
        paths = {"workdir": node.workdir, "run_dir": self._job.run_dir, "python": node.python}
        words = {key: shlex.quote(text) for key, text in paths.items()}
        self.drop(name, f"{what}, for {timeout_s:.0f} s", advice.format(**words))

    def _take_answer(
        self, event: Event, answers: Sequence[str], received: dict[str, dict[str, Message]]
    ) -> None:
        if isinstance(event.body, Lost):
            self.drop(event.node, event.body.reason)
            return
        kind = event.body["type"]
        if kind in answers and event.node in received:
            received[event.node][kind] = event.body
        elif kind == "note":
            self._output.say(f"{event.node}: {event.body['text']}")
        elif kind == "notice":
            raise Interrupted(int(event.body["number"]))

    def silent(self, limit_s: float) -> list[str]:
        """Nodes from which nothing came for ``limit_s``, though we were listening all the while."""
        now = self.system.monotonic()
        paused, self._last_check = now - self._last_check > 3.0, now
        if paused or not self.inbox.empty:
            for link in self.links.values():
                link.give_grace()
            return []
        return [name for name, link in self.links.items() if link.silent_for() > limit_s]

    def close(self, timeout_s: float = 8.0) -> None:
        """End all agents and wait until their guards have ended: then nothing is left."""
        with self._lock:
            self._closed = True
        for link in list(self._connecting.values()):
            link.close()
        if self._opening is not None:
            self._opening.join(CONNECTING_S)
        self.tell({"type": "end"})
        give_up = self.system.monotonic() + timeout_s
        for link in self.links.values():
            link.wait(max(0.05, give_up - self.system.monotonic()))
        for link in self.links.values():
            link.close()
        self.links.clear()
        self._cluster.close()
