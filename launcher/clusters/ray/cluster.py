"""A Ray cluster: a bundle of its resources on each node, and in it an agent that calls back.

Ray is spoken with by a process of its own (see ray_clerk.py). Whether a node is lost is judged by
our channel alone, within seconds; Ray itself may take a minute to notice.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from launcher.clusters.base import FIRST_WORDS_S, never
from launcher.clusters.dialback import DialledStream, Reception
from launcher.clusters.ray.bundles import Ask
from launcher.core.errors import ClusterError, NodeError
from launcher.core.job import Node
from launcher.core.nodelist import natural_key
from launcher.core.protocol import channel

CALL_S = 30.0  # for an agent to call back
RELEASE_S = 10.0  # for Ray to take everything back
ERRORS_KEPT_BYTES = 10_000

# Nothing of the current folder hides a module of Ray, and nobody's own `launcher` hides ours.
_CLERK = """\
import sys
from importlib.machinery import PathFinder
class Own:
    def find_spec(name, path=None, target=None):
        return PathFinder.find_spec(name, [sys.argv[1]]) if name == "launcher" else None
sys.path[:] = [folder for folder in sys.path if folder] + [sys.argv[1]]
sys.meta_path.insert(0, Own)
from launcher.clusters.ray.driver import main
main()
"""


class RayCluster:
    """The nodes that Ray gives us: as many as asked for, each with what was asked for.

    ``each`` holds what the nodes have in common; without a ``python`` there, each runs the one of
    its Ray worker. Without an ``ask`` all nodes are only visited, and nothing is claimed on them.
    """

    name = "ray"
    one_machine = False
    in_slurm_job = False
    inherited_stdin = None
    first_words_s = FIRST_WORDS_S

    def __init__(
        self,
        address: str,
        ask: Ask | None,
        each: Node,
        wait_s: float,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._address, self._ask, self._each, self._wait_s = address, ask, each, wait_s
        self._say = say
        self._clerk: Clerk | None = None
        self._nodes: tuple[Node, ...] = ()
        self._reception: Reception | None = None
        self._round = 0
        self._ends: dict[str, End] = {}

    def nodes(self, stop: Callable[[], bool] = never) -> tuple[Node, ...]:
        """Claim the nodes, in the natural order of their names. Raises ClusterError."""
        if self._clerk is None:
            self._clerk = Clerk(self._say)
            if self._ask is None:
                answer = self._clerk.order("visit", stop, address=self._address)
            else:
                ask = asdict(self._ask)
                answer = self._clerk.order(
                    "acquire", stop, address=self._address, ask=ask, wait_s=self._wait_s
                )
            self._nodes = self._known(answer["nodes"])
            try:
                self._reception = Reception([answer["address"]], self._say)
            except OSError as error:
                problem = f"no agent could call back to {answer['address']}: {error.strerror}"
                raise ClusterError([NodeError("ray", problem)]) from error
        return self._nodes

    def prepare(self, nodes: Sequence[Node]) -> None:
        """Have Ray's actors start the agents of these nodes. Raises ClusterError."""
        assert self._clerk is not None
        assert self._reception is not None
        self._round += 1
        for node in nodes:
            self._ends[node.name] = self._clerk.ends[node.name, self._round] = End()
        self._clerk.order(
            "start",
            number=self._round,
            argv={node.name: [node.python, "-I", "-S", "-c", channel.DIAL] for node in nodes},
            lines={node.name: self._reception.invite([node.name]).decode() for node in nodes},
        )

    def connect(self, node: Node, argv: Sequence[str], env: Mapping[str, str]) -> DialledStream:
        """Wait until the node's agent has called. Raises NodeError."""
        assert self._reception is not None
        end = self._ends[node.name]
        return self._reception.stream(
            node.name, CALL_S, over=end.problem, wait=end.wait, errors=end.errors
        )

    def replace(self, lost: Sequence[Node], stop: Callable[[], bool] = never) -> tuple[Node, ...]:
        """Nodes for those whose agents were lost: the same ones where they answer, or others.

        Waits for others like at the start, unless ``stop()``; there may be fewer then. A node that
        doesn't answer is left alone for good, whatever Ray believes: if its host comes back, it
        joins Ray as a new node. Raises ClusterError if Ray itself is gone.
        """
        assert self._clerk is not None
        names = [node.name for node in lost]
        answer = self._clerk.order("replace", stop, lost=names, wait_s=self._wait_s)
        same = [node for node in lost if node.name in answer["same"]]
        return (*same, *self._known(answer["nodes"]))

    def close(self) -> None:
        """Give everything back to Ray."""
        if self._clerk is not None:
            self._clerk.close()
        if self._reception is not None:
            self._reception.close()

    def _known(self, found: Sequence[Mapping[str, str]]) -> tuple[Node, ...]:
        nodes = [
            replace(
                self._each,
                name=one["name"],
                address=one["address"],
                python=self._each.python or one["python"],
            )
            for one in found
        ]
        return tuple(sorted(nodes, key=lambda node: natural_key(node.name)))


@dataclass
class End:
    """How an agent ended, once it has."""

    code: int | None = None
    said: str = ""
    happened: threading.Event = field(default_factory=threading.Event)

    def problem(self) -> str | None:
        """Why it will never call, if it has ended."""
        if not self.happened.is_set():
            return None
        last = (self.said.strip().splitlines() or [f"its agent ended with code {self.code}"])[-1]
        return f"the agent did not start: {last}"

    def wait(self, timeout_s: float) -> int | None:
        """Its exit code, if it is known in time."""
        self.happened.wait(timeout_s)
        return self.code

    def errors(self) -> str:
        """What it wrote to its standard error."""
        return self.said


class Clerk:
    """The process that speaks with Ray, from outside."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.ends: dict[tuple[str, int], End] = {}
        self._say = say
        self._answers: SimpleQueue[dict[str, Any]] = SimpleQueue()
        self._turn = threading.Lock()
        self._errors = bytearray()
        self._lost = ""
        self._process = subprocess.Popen(
            [sys.executable, "-c", _CLERK, str(Path(__file__).parents[3])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # a Ctrl-C is for us
        )
        self._ears = threading.Thread(target=self._gather_errors, daemon=True)
        self._ears.start()
        threading.Thread(target=self._listen, daemon=True).start()

    def order(self, do: str, stop: Callable[[], bool] = never, **words: Any) -> dict[str, Any]:
        """Have something done and wait for the answer. Raises ClusterError.

        After ``stop()`` the clerk is ended, and with it all that the run has in the cluster.
        """
        assert self._process.stdin is not None
        with self._turn:
            with contextlib.suppress(OSError):  # it has ended: that is answered
                self._process.stdin.write(json.dumps({"do": do, **words}).encode() + b"\n")
                self._process.stdin.flush()
            while True:
                try:
                    answer = self._answers.get(timeout=0.2)
                    break
                except Empty:
                    if self._lost:
                        raise ClusterError(
                            [NodeError("ray", self._lost, "see: ray status")]
                        ) from None
                    if stop():
                        self._process.kill()
        if "problems" in answer:
            raise ClusterError([NodeError(*row) for row in answer["problems"]])
        found: dict[str, Any] = answer["answer"]
        return found

    def close(self) -> None:
        """Give everything back; the process ends. May be called twice."""
        assert self._process.stdin is not None
        if self._process.stdin.closed:
            return
        with contextlib.suppress(OSError), self._process.stdin as orders:
            orders.write(b'{"do": "release"}\n')
        try:
            self._process.wait(RELEASE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()  # Ray then takes back what we had
            self._process.wait()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as words:
            for line in words:
                message = json.loads(line)
                if "note" in message:
                    self._say(message["note"])
                elif "ended" in message:
                    name, number = message["ended"]
                    self._end(self.ends[name, number], message["code"], message["errors"])
                else:
                    self._answers.put(message)
        self._process.wait()
        self._ears.join(1.0)
        last = bytes(self._errors).decode(errors="replace").strip().splitlines()[-1:]
        problem = f"the connection to Ray was lost: {(last or ['no message'])[0]}"
        for end in self.ends.values():
            self._end(end, None, problem)
        self._lost = problem

    def _end(self, end: End, code: int | None, said: str) -> None:
        if not end.happened.is_set():
            end.code, end.said = code, said
            end.happened.set()

    def _gather_errors(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as stderr:
            while chunk := os.read(stderr.fileno(), ERRORS_KEPT_BYTES):
                self._errors += chunk
                del self._errors[:-ERRORS_KEPT_BYTES]
