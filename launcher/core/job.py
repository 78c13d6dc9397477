"""What a run is, as data: every part of the launcher speaks in these words.

Frozen dataclasses without behaviour. Durations are in seconds and end in ``_s``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

ProgramKind = Literal["script", "module", "program", "function"]
State = Literal["succeeded", "failed", "preempted", "cancelled"]
StartMethod = Literal["warm", "cold"]
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


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """A request, as options or keyword arguments say it. How each is written is in ``OPTIONS``.

    None: not given. Durations are in seconds.

    Attributes:
        cluster: A kind of cluster, or a cluster file. Default: the one we are in, or this machine.
        hosts: SSH hosts, or some of the cluster file's.
        nodes: How many nodes: at least, and at most. Default: one on this machine and from SLURM,
            else all that there are.
        gpus: GPUs of each node: a number, ``all``, ``free``, ``free:N``, a list, or a list for each
            node. Default: all.
        procs: Ranks on each node. Default: one for each GPU, or one.
        max_restarts: How often a run that failed is started again.
        grace_s: For ranks to save and end after Ctrl-C, SIGTERM or SLURM's warning.
        failure_grace_s: For healthy ranks to end once one has failed; 0: they are killed at once.
        timeout_s: For the whole run, restarts included. Default: no limit.
        wait_s: For a Ray cluster's resources to be free. Default: 60.
        env: Variables for all ranks.
        preload: Modules that each node imports once, before its ranks are forked.
        start: ``warm``: ranks are forked from a process that has imported torch; ``cold``: each
            starts an interpreter of its own.
        run_dir: The run's folder. Default: ``plaunch_runs/TIME-PROGRAM-JOB`` in the current folder.
        restart: Begin anew in the folder of an old run.
        result_file: A file for a copy of ``result.json``.
        time: The job's time limit as SLURM writes it; a plain number is minutes. Default: SLURM's.
        partition: Where the job is queued. Default: SLURM's.
        account: Who is charged. Default: SLURM's.
        qos: The job's quality of service. Default: SLURM's.
        requeue: Queue the job again when it is preempted or near its limit, to go on from there.
        signal_lead_s: How long before the job's end its ranks are told to save. Default: 120 if
            ``requeue``, else they are not told.
        array: A job array's numbers.
        sbatch: Further options for sbatch, as its own command line has them.
        detach: Don't wait for the job.
        new_job: Submit a job from inside an allocation, too.
    """

    cluster: str | None = None
    hosts: str | None = None
    nodes: tuple[int, int] | None = None
    gpus: str | None = None
    procs: int | None = None
    max_restarts: int = 0
    grace_s: float = 30.0
    failure_grace_s: float = 5.0
    timeout_s: float | None = None
    wait_s: float | None = None
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    preload: tuple[str, ...] = ()
    start: StartMethod = "warm"
    run_dir: str | None = None
    restart: bool = False
    result_file: str | None = None
    time: str | None = None
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    requeue: bool = False
    signal_lead_s: int | None = None
    array: str | None = None
    sbatch: tuple[str, ...] = ()
    detach: bool = False
    new_job: bool = False


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
    """The end of a run: what ``launch()`` returns, and ``result.json`` holds.

    Attributes:
        job_id: The run's id, which ``plaunch status`` knows.
        state: ``succeeded``, ``failed``, ``preempted`` (it can go on in the same ``run_dir``) or
            ``cancelled``.
        exit_code: The one that ``plaunch`` ends with.
        attempts: How often the ranks were started, over the life of the run's folder.
        preemptions: How many of the attempts were preempted.
        world_size: How many ranks the last attempt had.
        seconds: How long the run took, as its launcher measured it.
        nodes: The nodes that it ran on: their name, address and GPUs.
        ranks: Each rank's exit code and what it gave back, by rank.
        verdict: Who failed first and of what; None if nobody did.
        run_dir: The run's folder, as an absolute path.
        history: How each attempt before the last one ended.
        message: What a person should know beside the state: a loss that is no number, a terminal
            that was closed.

    Example:
        ::

            result = launch(train, procs=2, check=False)
            if result.state == "succeeded":
                print(result.values, result.metrics)
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
