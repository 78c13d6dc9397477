"""What a run's folder tells of the run, from outside and at any time."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from launcher.core.job import PastAttempt
from launcher.rundir.events import ENDS, TELLING, former_attempts, preemptions, read_events
from launcher.rundir.records import read_job, read_result


@dataclass(frozen=True)
class RunFacts:
    """A run as its folder shows it.

    ``state`` is how it ended, or "running", "died" (nobody leads it any more, and it has no
    result), "unknown" (it may be led from another host that we can't look at), or "missing" (no
    such folder, or no run in it).
    """

    state: str
    job: Mapping[str, Any] = field(default_factory=dict)
    result: Mapping[str, Any] | None = None
    attempts: int = 0
    preemptions: int = 0
    world_size: int | None = None
    step: int | None = None
    checkpoint: str | None = None
    last_sign: float | None = None  # unix time of the last thing that it wrote down
    problem: str | None = None  # why nothing was started
    history: tuple[PastAttempt, ...] = ()  # all attempts that were begun, as far as is known

    @property
    def over(self) -> bool:
        """Whether nothing more is to be expected."""
        return self.state in ENDS or self.state == "died"


def snapshot(run_dir: str | Path, host: str | None = None) -> RunFacts:
    """Read a run's folder; ``host`` is where its controller is, if that is known.

    Looking takes the folder's lock for a moment, never from a run that has it.
    """
    path = Path(run_dir)
    job = read_job(path)
    if job is None:
        return RunFacts("missing")
    result = read_result(path)
    state = "" if result is not None else life(path, str(job.get("host") or host or ""))
    if state not in ("", "running"):
        result = read_result(path)  # it may just have ended
    if result is not None:
        state = str(result.get("state"))
    try:
        events = read_events(path / "events.jsonl")
    except OSError:
        events = []
    told = [event.get("event") for event in events if event.get("event") in TELLING]
    if state == "died" and told[-1:] == ["succeeded"]:
        state = "succeeded"  # the disk was full when its result was to be written
    return _facts(state, job, result, events)


def _facts(
    state: str,
    job: Mapping[str, Any],
    result: Mapping[str, Any] | None,
    events: Sequence[Mapping[str, Any]],
) -> RunFacts:
    history = former_attempts(events)
    found = {"attempts": len(history), "preemptions": preemptions(history)}
    world_size = _last(events, "world_size")
    if result is not None:
        found = {key: int(result.get(key) or 0) for key in found}
        world_size = result.get("world_size")
    return RunFacts(
        state=state,
        job=job,
        result=result,
        attempts=found["attempts"],
        preemptions=found["preemptions"],
        world_size=world_size if isinstance(world_size, int) else None,
        step=_last(events, "step"),
        checkpoint=_last([e for e in events if e.get("event") == "checkpoint"], "path"),
        last_sign=_last(events, "time"),
        problem=_not_started(events),
        history=history,
    )


def _not_started(events: Sequence[Mapping[str, Any]]) -> str | None:
    """What the last thing in the run says, if it is that nothing could be started."""
    last = events[-1] if events else {}
    return str(last.get("problem")) if last.get("event") == "not_started" else None


def _last(events: Sequence[Mapping[str, Any]], key: str) -> Any:
    return next((e[key] for e in reversed(events) if e.get(key) is not None), None)


def life(run_dir: Path, host: str) -> str:
    """Whether somebody leads the run: "running", "died" or "unknown".

    The leader holds a lock of the folder. A lock that is free says nothing if the leader is on
    another host: not every shared folder shows locks of others.
    """
    try:
        fd = os.open(run_dir / "lock", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return "unknown"
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return "running"
    except OSError:
        return "unknown"
    finally:
        os.close(fd)
    return "died" if host == os.uname().nodename else "unknown"


def leads(pid: int, run_dir: str | Path) -> bool:
    """Whether a process of this host leads the run: it, and no other, has the lock file open.

    A process id alone proves nothing: it may be another process's by now, or another container's.
    """
    with contextlib.suppress(OSError):
        lock = os.stat(os.path.join(run_dir, "lock"))
        for name in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                found = os.stat(f"/proc/{pid}/fd/{name}")
                if (found.st_dev, found.st_ino) == (lock.st_dev, lock.st_ino):
                    return True
    return False


def ago(moment: float, now: float | None = None) -> str:
    """How long ago, for people: ``5 s``, ``12 min``, ``3 h``, ``2 days``."""
    return duration((time.time() if now is None else now) - moment)


def duration(seconds: float) -> str:
    """A duration for people."""
    for unit, name in ((86400.0, "days"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{max(seconds, 0):.0f} s"
