"""Every message between the controller, its agents and their ranks: kinds and fields, as types.

Whoever sends or handles a message is checked against this table by the type checker, and a test
holds all that is sent, handled and checked at run time (checks.py) against it. Nothing imports
this file while a run is going on, so it costs no start any time.
"""

from __future__ import annotations

from typing import Any, Literal, TypedDict

# -- from the controller to an agent


class RankOrder(TypedDict):
    """One rank of a :class:`Start`: ``env`` are the variables that always hold."""

    rank: int
    local_rank: int
    env: dict[str, str]


class Start(TypedDict):
    """Start these ranks; ``defaults`` are variables that yield to what the user has set."""

    type: Literal["start"]
    attempt: int
    world_size: int
    ranks: list[RankOrder]
    defaults: dict[str, str]


class OpenStore(TypedDict):
    """Take a port for the rendezvous store, and host it there if ``hosted``.

    ``word`` is what the other nodes say to the store's door. Answered by :class:`StoreOpened`.
    """

    type: Literal["store"]
    address: str
    hosted: bool
    word: str | None


class Reach(TypedDict):
    """Try to connect there. Answered by :class:`Reached`."""

    type: Literal["reach"]
    address: str
    port: int
    word: str | None


class Listen(TypedDict):
    """Listen on a free port of this address. Answered by :class:`Listening`."""

    type: Literal["listen"]
    address: str


class AskGpus(TypedDict):
    """Tell the node's GPUs; ``sources`` is the driver's library. Answered by :class:`Gpus`."""

    type: Literal["gpus"]
    sources: dict[str, str]


class AskLease(TypedDict):
    """Lease these GPUs, and give others back. Answered by :class:`Leased`."""

    type: Literal["lease"]
    uuids: list[str]


class Signal(TypedDict):
    """Send this signal to the ranks."""

    type: Literal["signal"]
    number: int


class Stop(TypedDict):
    """A rank somewhere has failed: end the others within ``grace_s``."""

    type: Literal["stop"]
    grace_s: float


class Kill(TypedDict):
    """Kill the ranks."""

    type: Literal["kill"]


class Stdin(TypedDict):
    """Input for the only rank, in base64; ``over``: this was the last of it."""

    type: Literal["stdin"]
    data: str
    over: bool


class End(TypedDict):
    """End the ranks and the agent."""

    type: Literal["end"]


class Beat(TypedDict):
    """The sender is alive, and has had nothing else to say for a second. Both ways."""

    type: Literal["beat"]


class Nothing(TypedDict):
    """No order: the agent speaks by itself."""


ToAgent = (
    Start | OpenStore | Reach | Listen | AskGpus | AskLease | Signal | Stop | Kill | Stdin | End
    | Beat
)  # fmt: skip

# -- from an agent to the controller


class Note(TypedDict):
    """A line for people."""

    type: Literal["note"]
    text: str


class Notice(TypedDict):
    """A scheduler has sent this signal to the processes on the node."""

    type: Literal["notice"]
    number: int


class _Found(TypedDict):
    type: Literal["found"]


class Found(_Found, total=False):
    """What of Python and torch is there; ``problem``: why Python can't start."""

    python: str | None
    torch: str | None
    no_engine: str | None
    problem: str | None


class Facts(TypedDict):
    """What a node is like; ``time`` is its clock, ``free_disk`` in bytes."""

    hostname: str
    cores: int
    addresses: dict[str, list[str]]
    reached_at: list[str]
    time: float
    free_disk: int | None
    workdir: bool
    program: str | None
    differs: list[str]
    main: str | None
    shared: bool
    driver: bool
    user: str


class Probe(Facts):
    """The same as a message, sent once at the start."""

    type: Literal["probe"]


class _StoreOpened(TypedDict):
    type: Literal["store"]
    port: int | None
    problem: str | None


class StoreOpened(_StoreOpened, total=False):
    """The port of the rendezvous store, and the network interface of its address."""

    interface: str | None


class Reached(TypedDict):
    """Whether the address was reached (no ``problem``), and our own address on the way there."""

    type: Literal["reached"]
    problem: str | None
    address: str | None
    interface: str | None


class Listening(TypedDict):
    """On this port; None if that could not be."""

    type: Literal["listening"]
    port: int | None


class Gpus(TypedDict):
    """The node's GPUs (see controller.placing.gpus.Gpu), and its CUDA_VISIBLE_DEVICES."""

    type: Literal["gpus"]
    gpus: list[dict[str, Any]]
    visible: str | None
    error: str


class Leased(TypedDict):
    """UUIDs of the GPUs that are ours now, and of those that another run has."""

    type: Literal["leased"]
    taken: list[str]
    refused: list[str]


class Raw(TypedDict):
    """What a rank has printed, on standard error if ``err``."""

    type: Literal["raw"]
    rank: int
    err: bool
    text: str


class Want(TypedDict):
    """The only rank waits for so much input; ``always``: nobody can see whether it waits."""

    type: Literal["want"]
    bytes: int | None
    always: bool


class Unstarted(TypedDict):
    """A rank could not be started."""

    type: Literal["unstarted"]
    rank: int
    problem: str


class Exit(TypedDict):
    """A rank has ended, with an exit code or minus a signal; ``killed``: we made it end."""

    type: Literal["exit"]
    rank: int
    status: int | None
    killed: bool
    oom: bool
    memory: str
    tail: list[str]


class Stopped(TypedDict):
    """Nothing of the attempt is left on the node; ``swept`` processes had to be killed."""

    type: Literal["stopped"]
    attempt: int
    swept: int


# -- from a rank to its agent, which passes it on with the rank's number


class _Report(TypedDict):
    type: Literal["report"]
    value: Any


class Report(_Report, total=False):
    """A value that the rank gives back; ``not_finite`` names what of it was no number."""

    by: Literal["user", "engine", "return"]
    not_finite: dict[str, str]


class _Progress(TypedDict):
    type: Literal["progress"]


class Progress(_Progress, total=False):
    """How far the rank is; ``failed``: it fails at this step."""

    step: int | None
    epoch: int | None
    checkpoint: str | None
    failed: bool


class FailureDetails(TypedDict):
    """An uncaught exception; ``chain`` are its causes."""

    type: str
    message: str
    traceback: str
    chain: list[str]


class Failure(TypedDict):
    """The rank ends of an exception."""

    type: Literal["failure"]
    failure: FailureDetails


class Phase(TypedDict):
    """Whether the rank waits for a process group, or has joined one."""

    type: Literal["phase"]
    phase: str


class RankReport(Report):
    """A rank's report, passed on."""

    rank: int


class RankProgress(Progress):
    """A rank's progress, passed on."""

    rank: int


class RankFailure(Failure):
    """A rank's failure, passed on."""

    rank: int


class RankPhase(Phase):
    """A rank's phase, passed on."""

    rank: int


FromRank = Report | Progress | Failure | Phase
FromAgent = (
    Beat | Note | Notice | Found | Probe | StoreOpened | Reached | Listening | Gpus | Leased | Raw
    | Want | Unstarted | Exit | Stopped | RankReport | RankProgress | RankFailure | RankPhase
)  # fmt: skip
