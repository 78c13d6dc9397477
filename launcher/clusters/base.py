"""What every kind of cluster offers: its nodes, and a byte stream to a process on a node.

The launcher asks nothing else of a cluster, so a backend is one file.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol, runtime_checkable

from launcher.core.job import Node

CLUSTER_KINDS = ("local", "ssh", "slurm", "ray")
FIRST_WORDS_S = 20.0  # for a node that could be connected to


def last_line(text: str) -> str:
    """The last line of what a node has said, fit for a terminal; empty if it said nothing."""
    lines = [line for line in text.splitlines() if line.strip()]
    line = lines[-1].strip()[-200:] if lines else ""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)


class Stream(Protocol):
    """The standard input and output of a process on a node."""

    def read(self, size: int) -> bytes:
        """Wait for data and return at most ``size`` bytes; empty when the other side has gone."""
        ...

    def write(self, data: bytes) -> None:
        """Send all of ``data``; raises OSError when the other side has gone."""
        ...

    def errors(self) -> str:
        """What the process has written to its standard error so far (its last 10 kB)."""
        ...

    def wait(self, timeout_s: float) -> int | None:
        """Exit code of the process (negative: a signal), or None if unknown after the timeout."""
        ...

    def close(self) -> None:
        """Close both directions; a process that reads from it sees the end. May be called twice."""
        ...


@runtime_checkable
class ProvenStream(Stream, Protocol):
    """A stream whose other side has already proved that it knows the secret."""

    def admit(self, cargo: Callable[[str], bytes]) -> bytes:
        """Let the agent in: our proof and its code. Returns what it has said since its proof."""
        ...


def never() -> bool:
    """Nobody asks to stop."""
    return False


class Cluster(Protocol):
    """A kind of cluster. The constructor stores; only these methods act.

    What differs between clusters is said by their attributes; nobody asks for a name.

    Attributes:
        name: What people call the kind; it is shown, and noted with the run.
        one_machine: Whether all nodes are parts of this machine: they share its files and GPUs.
        in_slurm_job: Whether the nodes are those of the SLURM job that we are in. Its state then
            says what a signal means, and the run is known by its number.
        first_words_s: How long a node that is connected to may take to answer, in seconds.
    """

    name: str
    one_machine: bool
    in_slurm_job: bool
    first_words_s: float

    @property
    def inherited_stdin(self) -> int | None:
        """Our standard input as a descriptor that the processes on the nodes inherit.

        Where they are on this machine, and it is no terminal; else None.
        """
        ...

    def nodes(self, stop: Callable[[], bool] = never) -> tuple[Node, ...]:
        """All nodes that the cluster has, in the order in which ranks are placed.

        May wait for nodes to come free, unless ``stop()``. Raises ClusterError.
        """
        ...

    def prepare(self, nodes: Sequence[Node]) -> None:
        """Start what the connections to all of ``nodes`` share. Raises ClusterError.

        Called before each round of connects, with the nodes of that round: all at first, later
        those whose agents were lost.
        """
        ...

    def connect(self, node: Node, argv: Sequence[str], env: Mapping[str, str]) -> Stream:
        """Start ``argv`` on ``node`` and return its stream. Raises NodeError.

        ``env`` holds no secrets; where the transport can't carry an environment it is ignored
        (the agent gets all it needs through the stream). Called from several threads at once,
        each for a node of its own.
        """
        ...

    def replace(self, lost: Sequence[Node], stop: Callable[[], bool]) -> tuple[Node, ...]:
        """Nodes that may stand in for those whose agents were lost, the likeliest first.

        They may be more than the lost ones, and the lost ones themselves: the same objects then,
        else they are nodes whose GPUs have to be chosen anew, whatever their names. May wait for
        nodes to come free, unless ``stop()``. Raises ClusterError if the cluster itself is gone.
        """
        ...

    def close(self) -> None:
        """Give back what all connections shared (jump hosts, pools)."""
        ...


def spare_first(
    nodes: Sequence[Node], used: Collection[str], lost: Sequence[Node]
) -> tuple[Node, ...]:
    """Of a fixed set of nodes those that were never used, then the lost ones: they may be back."""
    return (*(node for node in nodes if node.name not in used), *lost)
