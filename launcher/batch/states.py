"""How the user's jobs are: from the index, their run folders, and SLURM."""

from __future__ import annotations

import contextlib
import glob
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from launcher.batch.outcome import how_it_ended, judge
from launcher.clusters.slurm import client
from launcher.clusters.slurm.client import SlurmError
from launcher.clusters.slurm.jobs import SlurmJob, numbers
from launcher.clusters.slurm.reasons import why_it_waits
from launcher.core.console.console import cause
from launcher.core.errors import UsageError
from launcher.rundir import index
from launcher.rundir.events import ENDS
from launcher.rundir.index import Entry
from launcher.rundir.records import read_job
from launcher.rundir.results import result_from_data
from launcher.rundir.snapshot import RunFacts, ago, snapshot

# Of an array's tasks, the end that counts is the worst.
_WORST = ("failed", "died", "cancelled", "preempted", "succeeded")


@dataclass(frozen=True)
class JobStatus:
    """One job: what was noted of it, what its folder tells, what SLURM says, and what follows."""

    entry: Entry
    facts: RunFacts
    slurm: SlurmJob | None
    state: str
    reason: str = ""
    why: str = ""  # of a whole array: what its first bad task ended of

    @property
    def over(self) -> bool:
        """Whether nothing more is to be expected of it."""
        if self.state == "preempted" and self.slurm is not None and not self.slurm.over:
            return False  # it is on its way back into the queue
        return self.state in (*ENDS, "died", "ended", "gone")

    @property
    def job_id(self) -> str | None:
        """Plaunch's own id, which a submitted job has once it has begun."""
        found = self.entry.job_id or self.facts.job.get("job_id")
        return None if found is None else str(found)

    @property
    def name(self) -> str:
        """What people call it."""
        theirs = f"SLURM job {self.entry.slurm}"
        if self.entry.slurm is None:
            return f"job {self.job_id}"
        return theirs if self.job_id is None else f"job {self.job_id} ({theirs})"

    @property
    def text(self) -> str:
        """The state with its reason."""
        text = f"{self.state} ({self.reason})" if self.reason else self.state
        return f"{text}: {self.why}" if self.why else text


# -- which jobs are meant


def find(word: str) -> list[Entry]:
    """The runs that a word means. Raises UsageError if there are none, SlurmError."""
    if not word.strip():
        raise UsageError("a job's id is empty: give one as `plaunch status` lists it")
    found = index.find(word) or _begun(word)
    if not found and os.path.isdir(word):
        found = _from_folder(os.path.abspath(word))
    if not found and client.JOB_ID.fullmatch(word):
        found = _from_slurm(word)
    if found:
        return sorted(found, key=_place)
    from difflib import get_close_matches

    known = [name for entry in index.entries() for name in (entry.job_id, entry.slurm) if name]
    near = get_close_matches(word, known, n=3)
    hint = f"did you mean {', '.join(near)}? " if near else ""
    raise UsageError(
        f"no job {word!r} is known here: {hint}give a job's id as `plaunch status` lists it, or "
        "its run folder"
    )


def _place(entry: Entry) -> int:
    """A whole array comes before its tasks, and these in their order."""
    task = (entry.slurm or "").partition("_")[2]
    return int(task) + 1 if task.isdigit() else 0


def _begun(word: str) -> list[Entry]:
    """A submitted job that began where our index can't be seen: its folder has its id."""
    waiting = [entry for entry in index.entries() if entry.job_id is None] if word else []
    folders = {entry: read_job(entry.run_dir) for entry in waiting}
    return [entry for entry, job in folders.items() if job and job.get("job_id") == word]


def _from_folder(path: str) -> list[Entry]:
    job = read_job(path)
    if job is None:
        raise UsageError(f"{path} is no run's folder: there is no job.json in it")
    program = str(job.get("program", "")).partition(" ")[2]
    pid, started = job.get("pid"), job.get("started")
    return [
        Entry(
            run_dir=path,
            cluster="",
            job_id=str(job.get("job_id")),
            host=str(job.get("host") or ""),
            pid=pid if isinstance(pid, int) else None,
            started=started if isinstance(started, float) else 0.0,
            program=program,
        )
    ]


def _from_slurm(number: str) -> list[Entry]:
    """A job that was submitted elsewhere: its folder has the job's number at the end."""
    if not client.is_here():
        return []
    job = client.show(number)
    if job is None:
        return []
    if job.array and job.array.replace("_", "").isdigit() and "_" not in number:
        array = job.array.partition("_")[0]
        if number != array:
            return find(job.array)  # the plain number of one of its tasks
    root = os.path.join(glob.escape(job.workdir), "plaunch_runs")
    tasks = glob.glob(os.path.join(root, f"*-{number}_*"))
    folders = glob.glob(os.path.join(root, f"*-{number}")) + [t.rpartition("_")[0] for t in tasks]
    entry = Entry(
        run_dir=folders[0] if folders else os.path.join(job.workdir, f"plaunch_runs/-{number}"),
        cluster="slurm",
        slurm=number,
        program=job.name,
        out=job.out or None,
        err=job.err or None,
    )
    if not os.path.isfile(os.path.join(entry.run_dir, "job.json")):
        return [entry]
    (found,) = _from_folder(entry.run_dir)
    return [replace(found, cluster="slurm", slurm=number, out=entry.out, err=entry.err)]


def with_tasks(entries: Sequence[Entry]) -> list[Entry]:
    """The same, and the tasks of job arrays that have begun somewhere without our index."""
    known = {entry.slurm for entry in entries}
    found: list[Entry] = []
    for entry in entries:
        found.append(entry)
        if entry.slurm is None or "_" in entry.slurm or entry.job_id is not None:
            continue
        root = glob.escape(entry.run_dir)
        paths = glob.glob(f"{root}_*/job.json") + glob.glob(f"{root}/*/job.json")
        for path in sorted(paths, key=lambda path: (len(path), path)):
            folder = os.path.dirname(path)
            number = f"{entry.slurm}_{folder.removeprefix(entry.run_dir)[1:]}"
            if client.JOB_ID.fullmatch(number) and number not in known:
                (task,) = _from_folder(folder)
                found.append(replace(task, cluster="slurm", slurm=number, whole_job=True))
    return found


# -- how they are


def job_states(
    entries: Sequence[Entry], *, details: bool = False
) -> tuple[list[JobStatus], str | None]:
    """The state of each, and what kept SLURM from answering.

    SLURM is asked once for all of them (and its accounting once for those that it has forgotten),
    and not at all if nothing that it knows could matter.
    """
    facts = {entry: snapshot(entry.run_dir, entry.host or None) for entry in entries}
    asked = [entry for entry in entries if entry.slurm is not None and _may_change(facts[entry])]
    problem: str | None = None
    jobs: list[SlurmJob] = []
    if asked or (details and any(entry.slurm for entry in entries)):
        try:
            jobs = _ask(entries if details else asked)
        except SlurmError as error:
            problem = client.trouble(error)
    found = []
    for entry in entries:
        mine = [job for job in jobs if entry.slurm and _is_of(job, entry.slurm)]
        state, reason = decide(entry, facts[entry], mine, problem)
        found.append(JobStatus(entry, facts[entry], mine[0] if mine else None, state, reason))
    whole = [whole_array(job, jobs, found) for job in found]
    return _without_doubles(whole), problem


def whole_array(
    job: JobStatus, jobs: Sequence[SlurmJob], all_jobs: Sequence[JobStatus]
) -> JobStatus:
    """An array of which no task waits or runs any more: how its tasks ended. Others as they are."""
    number = job.entry.slurm
    if number is None or "_" in number or job.facts.state != "missing":
        return job
    theirs = [one for one in jobs if (one.array or "").partition("_")[0] == number]
    tasks = [one for one in all_jobs if (one.entry.slurm or "").startswith(f"{number}_")]
    over = [*(one.over for one in theirs), *(one.over for one in tasks)]
    if not over or not all(over):
        return job
    ends: dict[str, tuple[str, str]] = {}
    for one in theirs:
        state, _, _ = judge(one)
        for task in numbers((one.array or "").partition("_")[2].strip("[]")):
            ends[str(task)] = (state, "" if state == "cancelled" else how_it_ended(one))
    for known in tasks:  # the run's own word is the truth
        task_number = (known.entry.slurm or "").partition("_")[2]
        ends[task_number] = (known.state, _cause(known) or ends.get(task_number, ("", ""))[1])
    states = [state for state, _ in ends.values()]
    worst = min(states, key=lambda state: _WORST.index(state) if state in _WORST else 0)
    first = min((n for n in ends if ends[n][0] == worst), key=lambda n: (len(n), n))
    why = ends[first][1] if worst not in ("succeeded", "cancelled") else ""
    return replace(
        job,
        state=worst,
        reason=f"{states.count(worst)} of {len(states)}",
        why=f"task {first}: {why}" if why else "",
    )


def _cause(job: JobStatus) -> str:
    """What a run failed of, by its own result, in a few words; empty if it tells nothing."""
    with contextlib.suppress(KeyError, TypeError, ValueError):
        found = result_from_data(job.facts.result or {}).verdict
        if found is not None:
            where = f"rank {found.rank}" if found.rank is not None else found.node
            return f"{where}: {cause(found)}"
    return job.reason


def _may_change(facts: RunFacts) -> bool:
    """A preempted run comes back; one that ended otherwise doesn't."""
    return facts.result is None or facts.state == "preempted"


def _ask(entries: Sequence[Entry]) -> list[SlurmJob]:
    ids = list(dict.fromkeys(entry.slurm for entry in entries if entry.slurm is not None))
    jobs = client.show_tasks(ids[0]) if len(ids) == 1 else client.show_all()
    forgotten = [n for n in ids if not any(_is_of(job, n) for job in jobs)]
    if forgotten:
        jobs = [*jobs, *client.remembered(forgotten)]
    return jobs


def _is_of(job: SlurmJob, number: str) -> bool:
    """Whether SLURM's job is the one of this number, or one of its tasks."""
    if "_" in number:
        return job.is_called(number)
    return job.id == number or (job.array or "").partition("_")[0] == number


def decide(
    entry: Entry, facts: RunFacts, jobs: Sequence[SlurmJob], away: str | None
) -> tuple[str, str]:
    """A job's state, and why: pure. ``jobs`` is what SLURM says (several for an array)."""
    if entry.slurm is None:
        return _by_folder(facts)
    if not jobs:
        return _without_slurm(facts, away)
    if len(jobs) > 1 or (jobs[0].array and "[" in jobs[0].array and "_" not in entry.slurm):
        return _of_array(jobs)
    job = jobs[0]
    if job.waiting:
        return "queued", why_it_waits(job.reason) or job.state.lower()
    if job.over:
        return _after_slurm(facts, job)
    if facts.state in ENDS or (facts.state == "died" and not entry.whole_job):
        return _by_folder(facts)
    if job.state not in ("RUNNING", "COMPLETING"):
        return job.state.lower(), ""
    return ("starting" if facts.state == "missing" else "running"), ""


def _by_folder(facts: RunFacts) -> tuple[str, str]:
    """What follows from the folder alone."""
    if facts.state == "missing":
        return "gone", "its run folder was removed"
    if facts.state == "died":
        if facts.problem:
            what = "it could not be started again" if facts.attempts else "nothing was started"
            return "died", f"{what}: {facts.problem}"
        return "died", "it has no result, and nobody leads it any more"
    if facts.state == "unknown":
        host = facts.job.get("host") or "another host"
        sign = "" if facts.last_sign is None else f"last event {ago(facts.last_sign)} ago"
        return "unknown", f"led from {host}, {sign or 'no event so far'}"
    return _as_it_ended(facts)


def _as_it_ended(facts: RunFacts) -> tuple[str, str]:
    """The state, and what there is to say beside it."""
    return facts.state, str((facts.result or {}).get("message") or "")


def _without_slurm(facts: RunFacts, away: str | None) -> tuple[str, str]:
    """What can be said while SLURM doesn't answer, or after it has forgotten the job."""
    if facts.state in (*ENDS, "running"):
        return _as_it_ended(facts)
    if away is None:
        if facts.state == "missing":
            return "gone", "SLURM doesn't know it any more, and it has no run folder"
        return "died", "SLURM doesn't know it any more, and it has no result"
    if facts.state == "missing":
        return "unknown", "SLURM can't be asked, and it has no run folder"
    return "unknown", _by_folder(facts)[1]


def _after_slurm(facts: RunFacts, job: SlurmJob) -> tuple[str, str]:
    """The job has left the queue for good."""
    if facts.state in ENDS and not (facts.state == "preempted" and job.state == "CANCELLED"):
        return _as_it_ended(facts)
    if job.state == "COMPLETED" and facts.state != "missing":
        return "died", "the job in SLURM has ended with success, but the run has no result"
    state, _, _ = judge(job)
    return state, "" if state == "cancelled" else how_it_ended(job)


def _of_array(jobs: Iterable[SlurmJob]) -> tuple[str, str]:
    """How many tasks wait, run, and have ended."""
    counts = {"queued": 0, "running": 0, "ended": 0}
    for job in jobs:
        tasks = (job.array or "").partition("_")[2].strip("[]")
        number = max(1, len(numbers(tasks)))
        counts["queued" if job.waiting else "ended" if job.over else "running"] += number
    said = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    live = [what for what in ("running", "queued") if counts[what]]
    return live[0] if live else "ended", f"array: {said}"


def _without_doubles(found: Sequence[JobStatus]) -> list[JobStatus]:
    """What is left of a submission is not shown beside the run, or the tasks, that it became."""
    begun = {job.entry.slurm or "" for job in found if job.facts.state != "missing"}
    arrays = {number.partition("_")[0] for number in begun if "_" in number}

    def shown(job: JobStatus) -> bool:
        if job.facts.state != "missing" or job.entry.slurm is None:
            return True
        is_shell = job.state in ("unknown", "gone") and job.entry.slurm in arrays
        return job.entry.slurm not in begun and not is_shell

    return [job for job in found if shown(job)]
