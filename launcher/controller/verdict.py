"""Who failed first, of what, and who is only a victim: pure, from the records of all ranks.

Never by the order of exits or the hosts' clocks alone: when a rank dies, its peers' collectives
break, and a peer's error may well arrive before the culprit has finished dying. So a rank whose
error is a broken collective is a victim if any other failed on its own account.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass

from launcher.core.job import Failure, Verdict, VerdictKind

# What torch, gloo and NCCL say when the other side of a collective has gone.
BROKEN_COLLECTIVE = re.compile(
    r"gloo.*(connection|timed? ?out|pair|socket|transport)|Connection closed by peer"
    r"|Connection reset by peer|Connection refused|Broken pipe|DistBackendError|DistNetworkError"
    r"|DistStoreError|NCCL (error|communicator)|ncclRemoteError|ncclSystemError"
    r"|Watchdog caught collective|ProcessGroup\w+.*(aborted|abort|timeout)|connectFullMesh"
    r"|Timed out waiting \d+ms for|wait timeout after \d+ms|collective operation timeout"
    r"|The client socket has|failed to recv|sendBytes failed|recvValue failed|Broken promise",
    re.IGNORECASE | re.DOTALL,
)

# What only a collective says. Of two broken connections the one that is none is the likelier cause.
OF_A_COLLECTIVE = re.compile(r"gloo|nccl|process ?group|\bDist\w+Error|c10d|Store", re.IGNORECASE)


@dataclass(frozen=True)
class Record:
    """What is known of one rank. ``order`` counts the first signs of trouble as they came in."""

    rank: int
    node: str
    status: int | None = None
    killed: bool = False
    oom: bool = False
    failure: Failure | None = None
    tail: tuple[str, ...] = ()
    unstarted: str | None = None
    step: int | None = None  # the newest that it has told of
    failed_at: int | None = None  # the step at which it told that it fails
    stack: str = ""
    memory: str = ""  # what it had used, if that was nearly all there is
    order: int = 1 << 30


@dataclass(frozen=True)
class LostNode:
    """A node whose agent can't be heard any more."""

    node: str
    reason: str
    order: int


def failed(record: Record) -> bool:
    """Whether the rank failed at all, by itself or as a victim; one that we killed did not."""
    if record.failure is not None or record.unstarted is not None:
        return True
    return record.status not in (None, 0) and not record.killed


def broke_with_peer(record: Record) -> bool:
    """Whether the rank's error is a collective that broke because another rank was gone."""
    return any(BROKEN_COLLECTIVE.search(text) for text in _errors(record))


def _errors(record: Record) -> list[str]:
    """What a rank said of its end: its exception and the causes, else its last lines."""
    if record.failure is not None:
        own = f"{record.failure.type}: {record.failure.message}"
        return [text[:4000] for text in (own, *record.failure.chain)]
    if record.status in (-signal.SIGABRT, -signal.SIGPIPE) or (record.status or 0) > 0:
        return list(record.tail[-20:])
    return []


def _doubt(record: Record) -> tuple[bool, int]:
    """Who is the likeliest cause where all speak of broken connections: the least of these."""
    return any(OF_A_COLLECTIVE.search(text) for text in _errors(record)), record.order


def own_failures(records: Sequence[Record]) -> list[Record]:
    """The ranks that failed on their own account, first sign first."""
    own = [record for record in records if failed(record) and not broke_with_peer(record)]
    return sorted(own, key=lambda record: record.order)


def judge(records: Sequence[Record], lost: Sequence[LostNode], attempt: int) -> Verdict | None:
    """The verdict on an attempt that has ended, or None if nothing failed."""
    own = own_failures(records)
    first_lost = min(lost, key=lambda node: node.order, default=None)
    if first_lost is not None and (not own or first_lost.order < own[0].order):
        victims = tuple(sorted(record.rank for record in records if failed(record)))
        return Verdict(
            "lost_node", None, first_lost.node, 1, victims=victims, attempt=attempt,
            message=first_lost.reason,
        )  # fmt: skip
    broken = sorted((r for r in records if failed(r)), key=_doubt)
    if not broken:
        return None
    culprit = own[0] if own else broken[0]
    kind = kind_of(culprit)
    alike = {r.rank for r in own if same_end(r, culprit)} | {culprit.rank}
    victims = tuple(sorted(r.rank for r in records if r.status != 0 and r.rank not in alike))
    return Verdict(
        kind=kind,
        rank=culprit.rank,
        node=culprit.node,
        exit_code=exit_code(culprit),
        signal=signal_name(culprit.status) if kind in ("signal", "oom") else None,
        exception=culprit.failure,
        last_lines=culprit.tail,
        victims=victims,
        attempt=attempt,
        step=culprit.failed_at,
        message=culprit.unstarted
        or (culprit.memory and f"probably out of memory: {culprit.memory} were in use")
        or ("" if own else "no rank failed on its own account"),
        ranks=tuple(sorted(alike)),
        last_step=culprit.step,
        stack=culprit.stack,
    )


def unexplained(records: Sequence[Record], attempt: int) -> Verdict | None:
    """The verdict where nothing failed, and yet a rank has not ended with 0; None if all have."""
    left = [record for record in records if record.status != 0]
    if not left:
        return None
    first, others = left[0], tuple(record.rank for record in left[1:])
    if first.status is None:
        message = f"its agent never told how rank {first.rank} ended"
        return Verdict(
            "lost_node", None, first.node, 1, victims=others, attempt=attempt, message=message
        )
    signaled = signal_name(first.status)
    return Verdict(
        "exit" if signaled is None else "signal", first.rank, first.node,
        first.status if first.status > 0 else 128 - first.status, signal=signaled,
        last_lines=first.tail, victims=others, attempt=attempt, step=first.step,
        message="nobody had asked for its end",
    )  # fmt: skip


def same_end(one: Record, other: Record) -> bool:
    """Whether two ranks that failed on their own account have the very same error."""
    if kind_of(one) != kind_of(other):
        return False
    if one.failure is not None and other.failure is not None:
        return (one.failure.type, one.failure.message) == (
            other.failure.type,
            other.failure.message,
        )
    return (one.status, one.unstarted) == (other.status, other.unstarted)


def kind_of(record: Record) -> VerdictKind:
    """The class of a rank's failure."""
    if record.unstarted is not None:
        return "start"
    if record.oom:
        return "oom"
    if record.failure is not None:
        return "exception"
    return "signal" if (record.status or 0) < 0 else "exit"


def exit_code(record: Record) -> int:
    """What the run ends with: the rank's own code, or 128 and the signal; never 0."""
    if record.status is None or record.status == 0:
        return 1
    if record.killed:
        return 1
    return record.status if record.status > 0 else 128 - record.status


def signal_name(status: int | None) -> str | None:
    """``SIGSEGV`` for -11; None for an exit code."""
    if status is None or status >= 0:
        return None
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"SIG{-status}"
