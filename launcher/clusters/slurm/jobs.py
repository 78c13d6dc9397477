"""Jobs as SLURM tells of them, and how its words are read: pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

WAITING = frozenset({"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT"})
RUNNING = frozenset({"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "RESIZING", "SIGNALING"})
_NOTHING = ("", "(null)", "None", "N/A", "Unknown", "NONE")
SEPARATOR = "\x1f"
QUEUE_FIELDS = ["%A", "%F", "%K", "%T", "%r", "%N", "%D", "%M", "%l", "%P", "%u"]
ACCOUNTING_FIELDS = [
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


@dataclass(frozen=True)
class Partition:
    """A partition's limits; None: there is none."""

    name: str
    num_nodes: int
    default: bool = False
    max_nodes: int | None = None
    max_time: str | None = None


def parse_partitions(text: str) -> list[Partition]:
    """The partitions of ``scontrol -o show partition``, one a line."""
    found = []
    for line in text.splitlines():
        said = dict(word.split("=", 1) for word in line.split() if "=" in word)
        if "PartitionName" not in said:
            continue
        most, time = said.get("MaxNodes", ""), said.get("MaxTime", "")
        found.append(
            Partition(
                name=said["PartitionName"],
                num_nodes=_number(said.get("TotalNodes", "")),
                default=said.get("Default") == "YES",
                max_nodes=int(most) if most.isdigit() else None,
                max_time=None if time in ("", "UNLIMITED", "INFINITE") else time,
            )
        )
    return found


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
    """The jobs of ``squeue`` in the form that ``client.show_all`` asks for."""
    jobs = []
    for line in text.splitlines():
        words = line.split(SEPARATOR)
        if len(words) != len(QUEUE_FIELDS):
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
    """The jobs of ``sacct`` in the form that ``client.remembered`` asks for."""
    jobs = []
    for line in text.splitlines():
        words = line.split(SEPARATOR)
        if len(words) != len(ACCOUNTING_FIELDS):
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
