"""A submitted job from the queue to its end, as if it ran here: its states, output and result."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from launcher.batch.outcome import conclude
from launcher.batch.poll import Heard, Watch
from launcher.clusters.slurm.client import SlurmError, cancel, finished, partitions
from launcher.clusters.slurm.jobs import SlurmJob
from launcher.clusters.slurm.reasons import never_starts, why_it_waits
from launcher.core.console.console import Output
from launcher.core.errors import ClusterError, NodeError
from launcher.core.job import Result
from launcher.rundir.records import read_job, read_result
from launcher.rundir.results import result_from_data
from launcher.rundir.tail import Tail

# States after which SLURM may still put the job back into the queue.
_MAYBE_BACK = ("PREEMPTED", "NODE_FAIL", "BOOT_FAIL", "FAILED", "TIMEOUT", "DEADLINE")
# How long a result is waited for that should be there.
_LATE_S = {"COMPLETED": 30.0, "FAILED": 2.0}


@dataclass(frozen=True)
class Traces:
    """Where a job (or a task of an array) leaves what it prints and its result."""

    run_dir: Path
    out: Path
    err: Path


class QueuedJob:
    """What has been seen of one job so far; says what is new about it."""

    def __init__(self, job_id: str, traces: Traces, output: Output) -> None:
        self.job_id, self.traces = job_id, traces
        self.last: SlurmJob | None = None
        self._output = output
        self._tails = [(Tail(traces.out), False), (Tail(traces.err), True)]
        self._running: int | None = None  # restarts before the last run that was seen
        self._back = 0
        self._reason = ""
        self._maybe_over = self._maybe_never = False

    def pump(self) -> None:
        """Pass on what the job has printed."""
        for tail, err in self._tails:
            while data := tail.read():
                self._output.raw(data.decode("utf-8", "surrogateescape"), err=err)

    def tell(self, job: SlurmJob) -> None:
        """Say what has changed."""
        self.last = job
        why = why_it_waits(job.reason)
        if job.state == "RUNNING" and self._running != job.restarts:
            self._running = job.restarts
            self._output.say(f"job {self.job_id} runs on {job.nodes}")
        elif job.over and self._running is None and job.nodes:  # quicker than two looks at it
            self._running = job.restarts
            self._output.say(f"job {self.job_id} ran on {job.nodes}")
        if not job.waiting:
            return
        # SLURM counts a restart a moment later than it puts the job back
        back = max(job.restarts, 0 if self._running is None else self._running + 1)
        if back > self._back:
            self._back, self._reason = back, why
            words = f"job {self.job_id} was preempted or requeued: back in the queue"
            self._output.say(f"{words}; {why}" if why else words)
        elif why and why != self._reason:
            self._reason = why
            self._output.say(f"job {self.job_id} waits: {why}")

    def is_over(self, job: SlurmJob | None) -> bool:
        """Whether the job has ended for good; for some states it takes a second look."""
        if job is None:
            return True
        if not job.over:
            self._maybe_over = False
            return False
        own = self.own_result()
        final = own is not None and own.state != "preempted"
        if final or job.state not in _MAYBE_BACK or self._maybe_over:
            return True
        self._maybe_over = True
        return False

    def never_starts(self, job: SlurmJob | None) -> str | None:
        """Why the job can't ever start, once SLURM has said so twice."""
        why = None if job is None else can_not_start(job)
        twice, self._maybe_never = self._maybe_never, why is not None
        return why if twice else None

    def own_result(self) -> Result | None:
        """What the run itself has left, if it is this job's (and not of a former one)."""
        number = self.last.id if self.last is not None else self.job_id
        job = read_job(self.traces.run_dir)
        data = read_result(self.traces.run_dir)
        if job is None or data is None or job.get("slurm_job_id") != number:
            return None
        if data.get("job_id") != job.get("job_id"):
            return None
        with contextlib.suppress(KeyError, TypeError, ValueError):
            return result_from_data(data)
        return None

    def wait_for_result(self) -> None:
        """A network file system may show the run's last file a little later than SLURM its end."""
        late_s = _LATE_S.get(self.last.state, 0.0) if self.last is not None else 0.0
        give_up = time.monotonic() + late_s
        while self.own_result() is None and time.monotonic() < give_up:
            time.sleep(0.2)

    def result(self, started: float, cancelled_by: int | None) -> Result:
        """The end, by the run's own result or by SLURM's state."""
        return conclude(
            self.own_result(),
            self.last,
            job_id=self.job_id,
            run_dir=str(self.traces.run_dir),
            seconds=time.monotonic() - started,
            cancelled_by=cancelled_by,
        )


def follow(job_id: str, traces: Traces, output: Output, heard: SimpleQueue[Heard]) -> Result:
    """Wait for one job's end. Raises LeftRunning, and ClusterError if it can't ever start."""
    started = time.monotonic()
    queued = QueuedJob(job_id, traces, output)
    seen = False
    with Watch(job_id, output, heard) as watch:
        for tasks in watch:
            if not watch.asking:
                queued.pump()
            if tasks is None:
                there = (traces.run_dir / "result.json").exists()
                if there and not seen:
                    watch.hurry()
                if there and watch.away and queued.own_result() is not None:
                    break  # nobody needs SLURM to know how it ended
                seen = there
                continue
            job = tasks[0] if tasks else _forgotten(job_id)
            if job is not None and not watch.asking:
                queued.tell(job)
            refuse(job_id, queued.never_starts(job))
            if queued.is_over(job):
                queued.last = job
                break
    queued.wait_for_result()
    queued.pump()
    return queued.result(started, watch.cancelled_by)


def follow_array(
    job_id: str, traces: Mapping[int, Traces], output: Output, heard: SimpleQueue[Heard]
) -> dict[int, Result]:
    """Wait for the end of all tasks; says what becomes of each. Raises LeftRunning."""
    started = time.monotonic()
    tasks = {n: QueuedJob(f"{job_id}_{n}", traces[n], output) for n in traces}
    over: dict[int, Result] = {}
    with Watch(job_id, output, heard, "array") as watch:
        for answer in watch:
            if answer is None or watch.asking:
                continue
            for number, task in tasks.items():
                if number in over:
                    continue
                job = next((one for one in answer if one.is_called(task.job_id)), None)
                if job is not None:
                    _tell_task(task, job, output)
                    refuse(job_id, task.never_starts(job))
                if task.is_over(job) and (job is not None or not answer):
                    task.wait_for_result()
                    over[number] = task.result(started, watch.cancelled_by)
                    _tell_end(task, over[number], output)
            if len(over) == len(tasks):
                break
    return dict(sorted(over.items()))


def _tell_task(task: QueuedJob, job: SlurmJob, output: Output) -> None:
    before = task.last.restarts if task.last is not None and task.last.state == "RUNNING" else -1
    task.last = job
    if job.state == "RUNNING" and before < job.restarts:
        output.say(f"task {task.job_id} runs on {job.nodes}; its output: {task.traces.out}")


def _tell_end(task: QueuedJob, result: Result, output: Output) -> None:
    if result.state == "succeeded":
        output.say(f"task {task.job_id} succeeded")
    else:
        code = result.exit_code
        output.error(
            f"task {task.job_id} {result.state} with exit code {code}: see {task.traces.err}"
        )


def can_not_start(job: SlurmJob) -> str | None:
    """Why a job that waits can't ever start, as far as is known."""
    if not job.reason.startswith("PartitionNodeLimit"):
        return never_starts(job, ())
    with contextlib.suppress(SlurmError):
        return never_starts(job, partitions())
    return None


def refuse(job_id: str, why: str | None) -> None:
    """Cancel a job that can't ever start. Raises ClusterError, unless there is no ``why``."""
    if why is None:
        return
    try:
        cancel(job_id)
        advice = "it was cancelled"
    except SlurmError as error:
        advice = f"it could not be cancelled: {error}"
    raise ClusterError([NodeError("SLURM", f"job {job_id}: {why}", advice)])


def _forgotten(job_id: str) -> SlurmJob | None:
    """A job that SLURM's controller has forgotten, by the accounting, if there is one."""
    with contextlib.suppress(SlurmError):
        return finished(job_id)
    return None
