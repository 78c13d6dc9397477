"""``plaunch cancel``: end jobs, and wait until they are gone."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from launcher.batch import states
from launcher.batch.states import JobStatus
from launcher.clusters.slurm import client
from launcher.clusters.slurm.client import SlurmError
from launcher.clusters.slurm.jobs import SlurmJob
from launcher.core.console.console import Output
from launcher.core.exit_codes import NOT_AS_ASKED
from launcher.rundir.index import Entry
from launcher.rundir.snapshot import leads, snapshot

GRACE_S = 30.0  # a run's own, if its folder doesn't say
AFTER_GRACE_S = 30.0  # for killed ranks to be gone, and SLURM to notice
POLL_S = 0.05
ASK_S = (0.3, 0.5, 1.0, 2.0)  # between questions to SLURM; the last one again and again


@dataclass(frozen=True)
class Cancelled:
    """What has become of one job."""

    name: str
    job_id: str | None
    slurm: str | None
    state: str
    message: str
    exit_code: int = 0


def cancel(words: Sequence[str], output: Output, *, as_json: bool) -> int:
    """End these jobs. Raises UsageError for one that is not known, before any is touched.

    The exit code is 0 if none of them runs any more, else 3.
    """
    targets = [target for word in words for target in _targets(word)]
    results = []
    for target in dict.fromkeys(targets):
        result = _cancel_slurm(target) if isinstance(target, str) else _cancel_run(target)
        results.append(result)
        if not as_json:
            output.say(f"{result.name}: {result.message}")
    if as_json:
        output.stdout(json.dumps([_as_data(result) for result in results], indent=1) + "\n")
    return max((result.exit_code for result in results), default=0)


def _targets(word: str) -> list[Entry | str]:
    """What a word means: a job of SLURM's as a whole (its number), or runs that we know."""
    found = states.find(word)
    if any(word in (entry.slurm, (entry.slurm or "").partition("_")[0]) for entry in found):
        return [word]
    return [entry.slurm if entry.slurm and _is_all(entry) else entry for entry in found]


def _is_all(entry: Entry) -> bool:
    """Whether the run is all that its job in SLURM does; else its own process is asked to end."""
    return entry.whole_job or entry.job_id is None


# -- a run with a controller of its own


def _cancel_run(entry: Entry) -> Cancelled:
    facts = snapshot(entry.run_dir, entry.host or None)
    pid, host = facts.job.get("pid") or entry.pid, str(facts.job.get("host") or entry.host)
    if facts.over or facts.state == "missing":
        state, reason = states.decide(replace(entry, slurm=None), facts, (), None)
        return _told(entry, state, f"nothing to cancel: it is over: {state} {reason}".rstrip())
    if host != os.uname().nodename or not isinstance(pid, int):
        return _elsewhere(entry, facts.state, pid, host)
    if not leads(pid, entry.run_dir):
        if snapshot(entry.run_dir).over:
            return _cancel_run(entry)
        message = f"process {pid} of this host does not lead it: is it in another container?"
        return _told(entry, facts.state, message, NOT_AS_ASKED)
    return _end(entry, pid, facts.job.get("grace_s"))


def _elsewhere(entry: Entry, state: str, pid: Any, host: str) -> Cancelled:
    where = host or "another host"
    message = f"it is led by process {pid} on {where}: there, type `plaunch cancel {entry.run_dir}`"
    if entry.slurm is not None:
        message += f"; or end all of its job in SLURM: `plaunch cancel {entry.slurm}`"
    return _told(entry, state, message, NOT_AS_ASKED)


def _end(entry: Entry, pid: int, grace_s: Any) -> Cancelled:
    """Ask the controller to end its run, as Ctrl-C would, and wait until it has."""
    seconds = grace_s if isinstance(grace_s, (int, float)) else GRACE_S
    deadline = time.monotonic() + seconds + AFTER_GRACE_S
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM if ignores(pid, signal.SIGINT) else signal.SIGINT)
    while leads(pid, entry.run_dir):
        if time.monotonic() > deadline:
            message = f"process {pid} still runs; `kill -9 {pid}` ends it and all its ranks"
            return _told(entry, "running", message, NOT_AS_ASKED)
        time.sleep(POLL_S)
    state = snapshot(entry.run_dir).state
    return _told(entry, state, state)


def ignores(pid: int, number: int) -> bool:
    """Whether a process ignores a signal, as those that a shell starts with ``&`` may do."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        text = Path("/proc", str(pid), "status").read_text()
        mask = int(text.split("SigIgn:")[1].split()[0], 16)
        return bool(mask >> (number - 1) & 1)
    return False


# -- a job of SLURM's


def _cancel_slurm(number: str) -> Cancelled:
    name = f"SLURM job {number}"
    try:
        jobs = client.show_tasks(number)
        if not jobs:
            message = "nothing to cancel: SLURM doesn't know it (any more)"
            return Cancelled(name, None, number, "unknown", message)
        if all(job.over for job in jobs):
            message = f"nothing to cancel: it is over: {_states(jobs)}"
            return Cancelled(name, None, number, _states(jobs), message)
        client.cancel(number)
        jobs = _wait(number, jobs)
    except SlurmError as error:
        return Cancelled(name, None, number, "unknown", client.trouble(error), NOT_AS_ASKED)
    if all(job.over for job in jobs):
        return Cancelled(name, None, number, _states(jobs), _states(jobs))
    message = f"cancelled, but it has not ended yet: {_states(jobs)}"
    return Cancelled(name, None, number, _states(jobs), message, NOT_AS_ASKED)


def _wait(number: str, jobs: list[SlurmJob]) -> list[SlurmJob]:
    """Wait until SLURM says that nothing of the job runs any more, for as long as a grace may be.

    A job whose ranks save within their grace may take that long, and SLURM kills it after its own.
    """
    deadline = time.monotonic() + GRACE_S + AFTER_GRACE_S
    pauses = iter(ASK_S)
    while time.monotonic() < deadline:
        time.sleep(next(pauses, ASK_S[-1]))
        jobs = client.show_tasks(number) or jobs
        if all(job.over for job in jobs):
            break
    return jobs


def _states(jobs: Sequence[SlurmJob]) -> str:
    return ", ".join(dict.fromkeys(job.state.lower() for job in jobs))


def _told(entry: Entry, state: str, message: str, exit_code: int = 0) -> Cancelled:
    name = JobStatus(entry, snapshot(entry.run_dir), None, state).name
    return Cancelled(name, entry.job_id, entry.slurm, state, message, exit_code)


def _as_data(result: Cancelled) -> dict[str, Any]:
    return {
        "job_id": result.job_id,
        "slurm": result.slurm,
        "state": result.state,
        "message": result.message,
    }
