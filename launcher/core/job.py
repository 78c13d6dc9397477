"""What a run is, as data: every part of the launcher speaks in these words.

Frozen dataclasses without behaviour; what may be asked of a run is in ``options``. Durations are in
seconds and end in ``_s``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from launcher.core.options import RunOptions

ProgramKind = Literal["script", "module", "program", "function"]
State = Literal["succeeded", "failed", "preempted", "cancelled"]
VerdictKind = Literal["exception", "signal", "oom", "exit", "lost_node", "hang", "start"]


@dataclass(frozen=True)
class Program:
    """What every rank runs.

    ``target`` is a script's path, a module's name, a program's name, or a function's name; a
    function itself travels in ``pickled`` (cloudpickle, opened by the ranks only). ``compat`` is
    the package that the engine stands in for.
    """

    kind: ProgramKind
    target: str
    args: tuple[str, ...] = ()
    pickled: bytes = field(default=b"", repr=False)
    compat: str | None = None


@dataclass(frozen=True)
class Job(RunOptions):
    """One run as the user asked for it: its options, what runs, and which run it is.

    Attributes:
        id: Eight hexadecimal digits, the first of them a letter; what ``plaunch status`` calls it.
        program: What every rank runs.
        run_dir: The run's folder, as an absolute path.
        result_file: The file for a copy of the result, as an absolute path, if one is asked for.

    All the other fields are those of the options, with their names, units and defaults.
    """

    id: str
    program: Program
    run_dir: str = field(kw_only=True)

    @property
    def min_nodes(self) -> int | None:
        """The least number of nodes that the run starts with; None: all that there are."""
        return None if self.nodes is None else self.nodes[0]

    @property
    def max_nodes(self) -> int | None:
        """The greatest number of nodes that it uses; None: all that there are."""
        return None if self.nodes is None else self.nodes[1]


@dataclass(frozen=True)
class Node:
    """A machine, or a part of this machine that acts as one.

    ``address`` is what the launcher connects to; ``gpus`` (if not None) limits the GPUs that the
    cluster file allows on it; ``python`` and ``workdir`` are paths on the node. ``ranks`` is how
    many the cluster means it to have, where neither the user nor its GPUs say so.
    """

    name: str
    address: str
    port: int | None = None
    user: str | None = None
    gpus: tuple[str, ...] | None = None
    python: str = "python3"
    workdir: str = "."
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    ranks: int | None = None


@dataclass(frozen=True)
class Placement:
    """Which ranks run on a node: ``num_ranks`` ranks from ``first_rank`` on, seeing ``gpus``."""

    node: Node
    node_rank: int
    first_rank: int
    num_ranks: int
    gpus: tuple[str, ...] = ()


@dataclass(frozen=True)
class Failure:
    """An uncaught exception as the rank reported it; ``chain`` names the types of its causes."""

    type: str
    message: str
    traceback: str
    chain: tuple[str, ...] = ()


@dataclass(frozen=True)
class RankResult:
    """How one rank ended and what it gave back (JSON data).

    ``metrics`` is what an ``engine`` run in it reported by itself, also where the rank has
    returned or reported a ``value`` of its own; without one it is the ``value``, too.
    """

    rank: int
    local_rank: int
    node: str
    exit_code: int | None = None
    value: Any = None
    metrics: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Verdict:
    """Who failed first and of what; the other failed ranks are only victims.

    ``ranks`` are all that failed with that very error, on their own account. ``step`` is where it
    failed, if that is known; ``last_step`` the newest that it has told of. ``stack`` is the Python
    stack of a crash.
    """

    kind: VerdictKind
    rank: int | None
    node: str
    exit_code: int
    signal: str | None = None
    exception: Failure | None = None
    last_lines: tuple[str, ...] = ()
    victims: tuple[int, ...] = ()
    attempt: int = 1
    step: int | None = None
    message: str = ""
    ranks: tuple[int, ...] = ()
    last_step: int | None = None
    stack: str = ""


@dataclass(frozen=True)
class PastAttempt:
    """How an earlier attempt of a run ended; "unknown" where the launcher itself was killed.

    ``kind``, ``rank`` and ``node`` are those of its verdict, ``step`` the last step known of it.
    """

    attempt: int
    state: State | Literal["unknown"] = "unknown"
    kind: VerdictKind | None = None
    rank: int | None = None
    node: str | None = None
    step: int | None = None


@dataclass(frozen=True)
class Result:
    """The end of a run: what ``result.json`` holds.

    ``attempts`` and ``preemptions`` count over the life of the run's folder; ``history`` has one
    entry for each attempt before the last. ``message`` is what a person should know beside the
    state: a loss that is no number, a terminal that was closed.
    """

    job_id: str
    state: State
    exit_code: int
    attempts: int
    preemptions: int
    world_size: int
    seconds: float
    nodes: tuple[Mapping[str, Any], ...]
    ranks: tuple[RankResult, ...]
    verdict: Verdict | None
    run_dir: str
    history: tuple[PastAttempt, ...] = ()
    message: str = ""

    @property
    def values(self) -> list[Any]:
        """What each rank returned or reported, by rank."""
        return [rank.value for rank in self.ranks]

    @property
    def metrics(self) -> list[Mapping[str, Any] | None]:
        """What an ``engine`` run in each rank reported by itself, by rank."""
        return [rank.metrics for rank in self.ranks]
