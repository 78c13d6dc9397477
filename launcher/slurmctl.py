"""Asking and telling SLURM: the only place that calls scontrol, squeue, scancel and sacct.

A job id is ``12``, or ``10_1`` for one task of a job array. The plain id of an array's last task is
also that of the whole array, so from inside a job use :func:`own_id`.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TIMEOUT_S = 30.0  # a client whose controller is away gives up by itself after MessageTimeout
JOB_ID = re.compile(r"[0-9]{1,10}(_[0-9]{1,10})?")

WAITING = frozenset({"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT"})
RUNNING = frozenset({"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "RESIZING", "SIGNALING"})

_AWAY = (
    "Unable to contact slurm controller",
    "Socket timed out",
    "Connection refused",
    "Connection timed out",
    "Zero Bytes were transmitted",
    "Problem talking to the database",
    "failed to open persistent connection",
    "Unexpected message received",  # scontrol requeue, while the controller is away
)
_UNKNOWN = re.compile("Invalid job id|Job \\S+ not found|No jobs in the system")
_OUTLIVED = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP)
_NOTHING = ("", "(null)", "None", "N/A", "Unknown", "NONE")
_SEPARATOR = "\x1f"
_QUEUE_FIELDS = ["%A", "%F", "%K", "%T", "%r", "%N", "%D", "%M", "%l", "%P", "%u"]
_ACCOUNTING_FIELDS = [
    "JobIDRaw",
    "JobID",
    "User",
    "State",
    "ExitCode",
    "NodeList",
    "NNodes",
    "Elapsed",
    "Timelimit",
]


class SlurmError(Exception):
    """SLURM refused, or a command of it can't be run: what was said."""


class SlurmAway(SlurmError):
    """SLURM's controller (or its database) can't be reached now."""


def trouble(error: SlurmError) -> str:
    """What went wrong, in a sentence."""
    what = "SLURM can't be reached" if isinstance(error, SlurmAway) else "SLURM doesn't do it"
    return f"{what}: {error}"


@dataclass(frozen=True)
class SlurmJob:
    """A job as SLURM knows it. What SLURM doesn't say is an empty text, 0 or None."""

    id: str  # the plain number, also of an array's task
    array: str | None = None  # "10_1", or "10_[2-7]" for tasks that have not begun
    name: str = ""
    user: str = ""
    state: str = ""
    reason: str = ""
    exit_code: int = 0
    signal: int = 0
    restarts: int = 0
    requeue: bool = False
    preempt_time: str | None = None
    nodes: str = ""
    num_nodes: int = 0
    run_time: str = ""
    time_limit: str = ""
    end_time: str = ""
    partition: str = ""
    batch_host: str = ""
    out: str = ""
    err: str = ""
    workdir: str = ""
    comment: str = ""

    @property
    def waiting(self) -> bool:
        """Whether it has yet to start (again)."""
        return self.state in WAITING

    @property
    def over(self) -> bool:
        """Whether it has ended for good."""
        return self.state not in WAITING | RUNNING

    def is_called(self, job_id: str) -> bool:
        """Whether ``job_id`` (``12`` or ``10_1``) means this job, or this task of an array."""
        array, underscore, task = job_id.partition("_")
        if not underscore:
            return self.id == job_id
        mine, _, tasks = (self.array or "").partition("_")
        return mine == array and int(task) in numbers(tasks.strip("[]"))


def own_id(env: Mapping[str, str] = os.environ) -> str | None:
    """The id of the job that we run in, or None; a task of an array is never its whole array."""
    array, task = env.get("SLURM_ARRAY_JOB_ID"), env.get("SLURM_ARRAY_TASK_ID")
    if array and task:
        return f"{array}_{task}"
    return env.get("SLURM_JOB_ID") or env.get("SLURM_JOBID") or None


def is_whole_job(env: Mapping[str, str] = os.environ) -> bool:
    """Whether this process is the job's batch script: the job does nothing beside it."""
    try:
        parent = Path("/proc", str(os.getppid()), "comm").read_text().strip()
    except OSError:
        return False
    return parent == "slurmstepd" and "SLURM_JOB_ID" in env and "SLURM_STEP_ID" not in env


def is_here() -> bool:
    """Whether SLURM's commands are installed on this machine."""
    return shutil.which("scontrol") is not None


# -- asking


def show(job_id: str, *, timeout_s: float = TIMEOUT_S) -> SlurmJob | None:
    """One job; None if SLURM doesn't know it any more. Raises SlurmError, SlurmAway."""
    return next((job for job in show_tasks(job_id, timeout_s=timeout_s)), None)


def show_tasks(job_id: str, *, timeout_s: float = TIMEOUT_S) -> list[SlurmJob]:
    """The job; of a whole array the tasks that have begun, and the rest as one, it first.

    Empty if SLURM doesn't know it any more. Raises SlurmError, SlurmAway.
    """
    try:
        text = _run("scontrol", "-o", "show", "job", _checked(job_id), timeout_s=timeout_s)
    except SlurmError as error:
        if _UNKNOWN.search(str(error)):
            return []
        raise
    found = parse_jobs(text)
    if "_" in job_id:
        return [job for job in found if job.is_called(job_id)]
    return sorted(found, key=lambda job: job.id != job_id)


def show_all(*, timeout_s: float = TIMEOUT_S) -> list[SlurmJob]:
    """All jobs of ours that SLURM still knows, one an array task, by one call.

    Only what ``squeue`` tells: no exit codes, restarts, files. Raises SlurmError, SlurmAway.
    """
    form = _SEPARATOR.join(_QUEUE_FIELDS)
    whose = str(os.geteuid())
    words = ("squeue", "--noheader", "--array", "--states=all", f"--user={whose}", "-o", form)
    return parse_queue(_run(*words, timeout_s=timeout_s))


def finished(job_id: str, *, timeout_s: float = TIMEOUT_S) -> SlurmJob | None:
    """A job as the accounting remembers it (its last run, if it was requeued).

    None where there is no accounting, or where it doesn't know the job. Raises SlurmError,
    SlurmAway.
    """
    found = remembered([job_id], timeout_s=timeout_s)
    return next((job for job in found if job.is_called(job_id)), None)


def remembered(job_ids: Sequence[str], *, timeout_s: float = TIMEOUT_S) -> list[SlurmJob]:
    """What the accounting remembers of these jobs, by one call: states, exit codes, nodes, times.

    Nothing where there is no accounting. Raises SlurmError, SlurmAway.
    """
    which = ",".join(map(_checked, job_ids))
    words = ("sacct", "--noheader", "--parsable2", f"--delimiter={_SEPARATOR}", "--allocations")
    form = ",".join(_ACCOUNTING_FIELDS)
    try:
        text = _run(*words, f"--jobs={which}", f"--format={form}", timeout_s=timeout_s)
    except SlurmAway:
        raise
    except SlurmError as error:
        if "accounting storage is disabled" in str(error) or "no sacct" in str(error):
            return []
        raise
    return parse_accounting(text)


def requeue_exit_codes(*, timeout_s: float = TIMEOUT_S) -> frozenset[int]:
    """The exit codes of a batch script that make SLURM requeue it (``RequeueExit``)."""
    text = _run("scontrol", "show", "config", timeout_s=timeout_s)
    found = re.search(r"^RequeueExit\s*=\s*(\S+)", text, re.MULTILINE)
    return numbers(found[1]) if found else frozenset()


# -- telling


def submit(script: bytes, env: Mapping[str, str], *, timeout_s: float = 4 * TIMEOUT_S) -> str:
    """Put a batch script into the queue and return its job's id. Raises SlurmError, SlurmAway.

    The job gets all of ``env``, which no command line shows.
    """
    out = _run("sbatch", "--parsable", "--export=ALL", timeout_s=timeout_s, text=script, env=env)
    found = re.match(r"\d+", out)
    if found is None:
        raise SlurmError(f"sbatch gave no job id but {out.strip()[:200]!r}")
    return found[0]


def requeue(job_id: str, *, timeout_s: float = TIMEOUT_S) -> None:
    """Put a job back into the queue; its processes are ended. Raises SlurmError, SlurmAway.

    One that has ended already (or was cancelled) starts again, too: look at its state before.
    """
    _run("scontrol", "requeue", _checked(job_id), timeout_s=timeout_s)


def cancel(job_id: str, signal_name: str | None = None, *, timeout_s: float = TIMEOUT_S) -> None:
    """Cancel a job, or send its steps a signal. Raises SlurmError, SlurmAway.

    Of a job that has ended, or that never was, SLURM says nothing.
    """
    how = () if signal_name is None else (f"--signal={signal_name}",)
    _run("scancel", *how, _checked(job_id), timeout_s=timeout_s)


# -- reading what SLURM says: pure


def parse_jobs(text: str) -> list[SlurmJob]:
    """The jobs of ``scontrol -o show job``: one line each, unless a comment holds a newline."""
    records: list[str] = []
    for piece in re.split(r"^(?=JobId=\d+ )", text, flags=re.MULTILINE):
        if records and not _HEAD.match(piece):
            records[-1] += piece  # still the former job's comment
        else:
            records.append(piece)
    return [_job(found) for found in map(_HEAD.match, records) if found]


# A name, a command, a comment and a path are the user's: they may hold anything, "JobState=" too.
# Between the group's id and the command no value holds a blank.
_HEAD = re.compile(
    r"JobId=(?P<id>\d+)(?: ArrayJobId=(?P<array>\d+) ArrayTaskId=(?P<task>\S+))?(?: \S+=\S*)*?"
    r" JobName=(?P<name>.*?) UserId=(?P<user>\S*)\(\d+\) GroupId=\S*\(\d+\)"
    r"(?P<middle>(?: \S+?=\S*)*?) Command=(?P<tail>.*)",
    re.DOTALL,
)
_TAIL = re.compile(r" (WorkDir|AdminComment|SystemComment|Comment|StdErr|StdIn|StdOut|Power)=")


def _job(found: re.Match[str]) -> SlurmJob:
    middle: dict[str, str] = {}
    for word in found["middle"].split():
        key, _, value = word.partition("=")
        middle.setdefault(key, value)
    _, *pieces = _TAIL.split(found["tail"].rstrip("\n"))
    tail = dict(zip(pieces[::2], pieces[1::2], strict=True))
    status, _, signal = middle.get("ExitCode", "0:0").partition(":")
    return SlurmJob(
        id=found["id"],
        array=_array(found["array"], found["task"]),
        name=found["name"],
        user=found["user"],
        state=_base(middle.get("JobState", "")),
        reason=_said(middle.get("Reason")),
        exit_code=_number(status),
        signal=_number(signal),
        restarts=_number(middle.get("Restarts", "")),
        requeue=middle.get("Requeue") == "1",
        preempt_time=_said(middle.get("PreemptTime")) or None,
        nodes=_said(middle.get("NodeList")),
        num_nodes=_number(middle.get("NumNodes", "")),
        run_time=_said(middle.get("RunTime")),
        time_limit=_said(middle.get("TimeLimit")),
        end_time=_said(middle.get("EndTime")),
        partition=_said(middle.get("Partition")),
        batch_host=_said(middle.get("BatchHost")),
        out=_said(tail.get("StdOut")),
        err=_said(tail.get("StdErr")),
        workdir=_said(tail.get("WorkDir")),
        comment=_said(tail.get("Comment")),
    )


def parse_queue(text: str) -> list[SlurmJob]:
    """The jobs of ``squeue`` in the form that :func:`show_all` asks for."""
    jobs = []
    for line in text.splitlines():
        words = line.split(_SEPARATOR)
        if len(words) != len(_QUEUE_FIELDS):
            continue
        number, array, task, state, reason, nodes, count, time, limit, partition, user = words
        jobs.append(
            SlurmJob(
                id=number,
                array=None if _said(task) == "" else _array(array, task),
                user=user,
                state=_base(state),
                reason=_said(reason),
                nodes=_said(nodes),
                num_nodes=_number(count),
                run_time=_said(time),
                time_limit=_said(limit),
                partition=partition,
            )
        )
    return jobs


def parse_accounting(text: str) -> list[SlurmJob]:
    """The jobs of ``sacct`` in the form that :func:`remembered` asks for."""
    jobs = []
    for line in text.splitlines():
        words = line.split(_SEPARATOR)
        if len(words) != len(_ACCOUNTING_FIELDS):
            continue
        raw, number, user, state, ended, nodes, count, time, limit = words
        status, _, signal = ended.partition(":")
        jobs.append(
            SlurmJob(
                id=raw,
                array=number if "_" in number else None,
                user=user,
                state=_base(state),
                exit_code=_number(status),
                signal=_number(signal),
                nodes="" if nodes == "None assigned" else _said(nodes),
                num_nodes=_number(count),
                run_time=_said(time),
                time_limit=_said(limit),
            )
        )
    return jobs


def numbers(text: str) -> frozenset[int]:
    """The numbers of a list such as ``1,4-7`` or ``0-7:2%3`` (``%`` limits how many run)."""
    found: set[int] = set()
    for piece in text.partition("%")[0].split(","):
        match = re.fullmatch(r"(\d{1,10})(?:-(\d{1,10}))?(?::(\d{1,10}))?", piece)
        if match:
            first = int(match[1])
            found.update(range(first, int(match[2] or first) + 1, int(match[3] or 1) or 1))
    return frozenset(found)


def _array(array: str | None, task: str | None) -> str | None:
    if not array or not task:
        return None
    return f"{array}_{task}" if task.isdigit() else f"{array}_[{task}]"


def _base(state: str) -> str:
    """``CANCELLED`` of ``CANCELLED by 1000``."""
    return re.split(r"[ +]", state.strip())[0]


def _said(value: str | None) -> str:
    return "" if value is None or value.strip() in _NOTHING else value.strip()


def _number(text: str) -> int:
    found = re.match(r"\d+", text)
    return int(found[0]) if found else 0


# -- the one way out


def _checked(job_id: str) -> str:
    """Nothing else than an id reaches a command that could end other jobs."""
    if not JOB_ID.fullmatch(job_id):
        raise SlurmError(f"{job_id!r} is no SLURM job id (such as 12, or 10_1 for an array's task)")
    return job_id


def _run(
    *words: str, timeout_s: float, text: bytes = b"", env: Mapping[str, str] | None = None
) -> str:
    """Run one of SLURM's commands, which reads ``text``, and return what it prints.

    ``env`` is for one whose environment matters; without it the output is not what a user has set.
    """
    if env is None:
        own_formats = ("SQUEUE_", "SACCT_", "SCONTROL_", "SCANCEL_", "SLURM_TIME_FORMAT")
        env = {name: os.environ[name] for name in os.environ if not name.startswith(own_formats)}
        env["SLURM_BITSTR_LEN"] = "0"  # or long lists of array tasks end in "..."
    # Inside a job whose end has begun SLURM signals all processes of it, this one, too.
    held = signal.pthread_sigmask(signal.SIG_BLOCK, _OUTLIVED)
    try:
        done = subprocess.run(
            words,
            env=env,
            input=text,
            capture_output=True,
            timeout=timeout_s,
            start_new_session=True,  # a Ctrl-C is for us
            check=False,
        )
    except FileNotFoundError:
        raise SlurmError(
            f"there is no {words[0]} on this machine: use one where SLURM's commands are installed"
        ) from None
    except subprocess.TimeoutExpired:
        raise SlurmAway(f"{words[0]}: no answer within {timeout_s:g} s") from None
    except OSError as error:
        raise SlurmError(f"can't run {words[0]}: {error.strerror}") from None
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
    out = done.stdout.decode(errors="replace")
    if done.returncode == 0:
        return out
    said = (done.stderr.decode(errors="replace").strip() or out.strip()).replace("\n", "; ")
    said = said or f"{words[0]} ended with exit code {done.returncode}"
    raise (SlurmAway if any(sign in said for sign in _AWAY) else SlurmError)(said)
