"""``plaunch status``: the jobs as a table, or one of them in detail."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from launcher.batch import states
from launcher.batch.states import JobStatus
from launcher.core.console.console import Output, table, verdict_lines
from launcher.core.console.terminal import one_line, paragraph
from launcher.core.exit_codes import NOT_AS_ASKED
from launcher.core.job import PastAttempt
from launcher.rundir import index
from launcher.rundir.results import result_from_data
from launcher.rundir.snapshot import ago, duration

SHOWN = 20  # jobs that are over, in the table without --all
STALE_S = 7 * 86400.0


def status(words: Sequence[str], output: Output, *, everything: bool, as_json: bool) -> int:
    """Print the state of these jobs, or of all recent ones. Raises UsageError.

    The exit code is 0, or 3 if SLURM would not answer.
    """
    entries = [entry for word in words for entry in states.find(word)]
    entries = list(dict.fromkeys(entries)) if words else index.entries()[::-1]
    jobs, problem = states.job_states(states.with_tasks(entries), details=bool(words))
    if not words and not everything:
        jobs = _recent(jobs)
    if as_json:
        output.stdout(json.dumps([as_data(job) for job in jobs], indent=1) + "\n")
    elif not jobs:
        output.say("no jobs yet: `plaunch train.py` runs one")
    elif words and len(jobs) == 1:
        output.stdout("\n".join(detail_lines(jobs[0])) + "\n")
    else:
        output.stdout("\n".join(table_lines(jobs)) + "\n")
    if problem is not None:
        output.error(f"{problem}; shown is what the run folders tell")
        return NOT_AS_ASKED
    return 0


def _recent(jobs: Sequence[JobStatus]) -> list[JobStatus]:
    """All that are not over, and the last few that are; as in a log, the newest come last."""
    live = [job for job in jobs if not job.over and not _is_stale(job)]
    rest = [job for job in jobs if job not in live][-SHOWN:]
    return [job for job in jobs if job in live or job in rest]


def _is_stale(job: JobStatus) -> bool:
    """Whether a job that may run on another host has been silent for long."""
    sign = job.facts.last_sign or job.entry.started
    return job.state == "unknown" and sign < time.time() - STALE_S


def table_lines(jobs: Sequence[JobStatus]) -> list[str]:
    """One row a job."""
    rows = [
        ("JOB", "SLURM", "CLUSTER", "PROGRAM", "RANKS", "STEP", "BEGAN", "TOOK", "STATE", "FOLDER")
    ]
    for job in jobs:
        entry, facts = job.entry, job.facts
        began = began_at(job)
        rows.append(
            (
                job.job_id or "-",
                entry.slurm or "",
                entry.cluster or "?",
                os.path.basename(entry.program)[:24] or "?",
                str(facts.world_size or "-"),
                "-" if facts.step is None else str(facts.step),
                "-" if began is None else f"{ago(began)} ago",
                took(job) or "-",
                job.text[:60],
                shown_path(entry.run_dir),
            )
        )
    if not any(row[1] for row in rows[1:]):
        rows = [(*row[:1], *row[2:]) for row in rows]  # type: ignore[misc]  # one column less
    return table(rows, indent="")


def began_at(job: JobStatus) -> float | None:
    """When its controller started (the last time), or when it was submitted."""
    found = job.facts.job.get("started") or job.entry.started
    return float(found) or None


def took(job: JobStatus) -> str | None:
    """How long it has run, if it has."""
    result, began = job.facts.result, began_at(job)
    if result is not None and job.over:
        return duration(float(result.get("seconds") or 0))
    if job.state == "running" and began is not None:
        return duration(time.time() - began)
    return None


def shown_path(path: str) -> str:
    """A path as short as it can be typed from here."""
    near = os.path.relpath(path)
    return path if near.startswith("..") else near


def detail_lines(job: JobStatus) -> list[str]:
    """All that is known of one job."""
    rows = [(name, text) for name, text in _details(job) if text]
    width = max(len(name) for name, _ in rows)
    lines = [one_line(f"{job.name}: {job.text}")]
    lines += [f"  {name.ljust(width)}  {one_line(text)}" for name, text in rows]
    with contextlib.suppress(KeyError, TypeError, ValueError):  # of another version
        verdict = result_from_data(job.facts.result or {}).verdict
        if verdict is not None:
            lines += map(paragraph, verdict_lines(verdict))
    return lines


def _details(job: JobStatus) -> list[tuple[str, str]]:
    entry, facts, slurm = job.entry, job.facts, job.slurm
    result, began = facts.result or {}, began_at(job)
    words = [entry.program, *map(str, facts.job.get("args") or [])]
    nodes = [str(node.get("name")) for node in result.get("nodes") or []]
    code = result.get("exit_code")
    return [
        ("program", " ".join(words)),
        ("cluster", entry.cluster),
        ("nodes", ", ".join(nodes) or (slurm.nodes if slurm else "")),
        ("ranks", str(facts.world_size or "")),
        ("led by", _leader(job)),
        ("began", f"{_clock(began)} ({ago(began)} ago)" if began else ""),
        ("took", took(job) or ""),
        ("SLURM", _slurm_words(job)),
        ("exit code", str(code) if code is not None and job.over else ""),
        ("attempts", _attempts(job)),
        *[("", past_words(past)) for past in _earlier(job)],
        ("step", "" if facts.step is None else str(facts.step)),
        ("checkpoint", facts.checkpoint or ""),
        ("last event", f"{ago(facts.last_sign)} ago" if facts.last_sign and not job.over else ""),
        ("folder", entry.run_dir),
        ("output", entry.out or (slurm.out if slurm else "")),
    ]


def _leader(job: JobStatus) -> str:
    facts, entry = job.facts, job.entry
    pid, host = facts.job.get("pid") or entry.pid, facts.job.get("host") or entry.host
    if job.over or pid is None or facts.state == "missing":
        return ""
    return f"process {pid} on {host or 'another host'}"


def _attempts(job: JobStatus) -> str:
    facts = job.facts
    if not facts.attempts:
        return ""
    more = f", {facts.preemptions} ended by preemption" if facts.preemptions else ""
    return f"{facts.attempts}{more}"


def _earlier(job: JobStatus) -> tuple[PastAttempt, ...]:
    """The attempts before the one that runs, or was the last."""
    history = job.facts.history
    return history[:-1] if job.over or job.state == "running" else history


def _slurm_words(job: JobStatus) -> str:
    slurm = job.slurm
    if slurm is None:
        return ""
    words = [slurm.state, slurm.reason, f"partition {slurm.partition}" if slurm.partition else ""]
    words += [
        f"time {slurm.run_time}, limit {slurm.time_limit or 'none'}" if slurm.run_time else ""
    ]
    words += [f"requeued {slurm.restarts} times" if slurm.restarts else ""]
    return ", ".join(word for word in words if word)


def past_words(past: PastAttempt) -> str:
    """How an earlier attempt ended, in a few words."""
    who = "" if past.rank is None else f" by rank {past.rank}"
    where = "" if past.node is None else f" on {past.node}"
    what = "" if past.kind is None else f": {past.kind}{who}{where}"
    step = "" if past.step is None else f" at step {past.step}"
    return f"{past.attempt}: {past.state}{step}{what}"


def _clock(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))


def as_data(job: JobStatus) -> dict[str, Any]:
    """The same as JSON data."""
    entry, facts = job.entry, job.facts
    result = facts.result or {}
    return {
        "job_id": job.job_id,
        "slurm": entry.slurm,
        "cluster": entry.cluster or None,
        "program": entry.program,
        "args": list(facts.job.get("args") or []),
        "state": job.state,
        "reason": ": ".join(filter(None, [job.reason, job.why])) or None,
        "over": job.over,
        "exit_code": result.get("exit_code"),
        "world_size": facts.world_size,
        "attempts": facts.attempts,
        "preemptions": facts.preemptions,
        "step": facts.step,
        "checkpoint": facts.checkpoint,
        "last_event": facts.last_sign,
        "began": began_at(job),
        "host": facts.job.get("host") or entry.host or None,
        "pid": facts.job.get("pid") or entry.pid,
        "run_dir": entry.run_dir,
        "out": entry.out,
        "err": entry.err,
        "history": [asdict(past) for past in _earlier(job)],
        "verdict": result.get("verdict"),
        "slurm_job": None if job.slurm is None else asdict(job.slurm),
    }
