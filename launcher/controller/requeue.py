"""Inside a SLURM job: how a run's end and the job's are brought together.

A run that was warned or preempted is requeued: by `scontrol requeue`, else an exit code that
``RequeueExit`` names, else the job stays until SLURM kills it and puts it back. The job's state is
asked first, for one that the user cancelled must stay cancelled.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import replace

from launcher.clusters.slurm import client
from launcher.clusters.slurm.jobs import SlurmJob
from launcher.controller import policy
from launcher.controller.agents.link import Inbox
from launcher.core.console.console import Output
from launcher.core.exit_codes import PREEMPTED
from launcher.core.job import Result

ASK_AGAIN_S = 2.0
ASK_LONG_S = 600.0  # for a controller of SLURM that is away to come back
TO_BE_ENDED_S = 120.0  # for SLURM to end a job that it has put back
TIME_LIMIT = ("TIMEOUT", "DEADLINE")


def settle(result: Result, output: Output) -> tuple[Result, policy.RequeueDecision | None]:
    """Ask SLURM what becomes of the job, and call the run's end what it then is."""
    job_id = client.own_id()
    if job_id is None or not is_batch(os.environ) or not policy.is_notice(result):
        return result, None
    job = ask(job_id, output)
    if job is None:
        return result, None
    decision = policy.after_notice(result, scheduled(job, os.environ))
    if decision.reason:
        output.say(decision.reason)
    more = int(decision.state == "preempted") - int(result.state == "preempted")
    settled = replace(
        result,
        state=decision.state,
        exit_code=decision.exit_code,
        verdict=None if decision.state == "cancelled" else result.verdict,
        preemptions=result.preemptions + more,
    )
    return settled, decision


def is_batch(environ: Mapping[str, str]) -> bool:
    """Whether the job is a batch job: only such a one can be put back into the queue."""
    return environ.get("ENVIRONMENT") == "BATCH"


def is_batch_process() -> bool:
    """Whether we are the batch script itself (it said ``exec plaunch``): our end is the job's."""
    with contextlib.suppress(OSError), open(f"/proc/{os.getppid()}/comm") as comm:
        return comm.read().startswith("slurmstepd")
    return False


def ask(job_id: str, output: Output) -> SlurmJob | None:
    """The job as SLURM knows it; asks again while SLURM's controller is away."""
    give_up = time.monotonic() + ASK_LONG_S
    reported = False
    while True:
        try:
            return client.show(job_id)
        except client.SlurmAway as error:
            if not reported:
                output.error(f"can't ask SLURM what becomes of the job, asking again: {error}")
            reported = True
            if time.monotonic() > give_up:
                return None
            time.sleep(ASK_AGAIN_S)
        except client.SlurmError as error:
            output.error(f"can't ask SLURM what becomes of the job: {error}")
            return None


def scheduled(job: SlurmJob, environ: Mapping[str, str]) -> policy.Scheduled:
    """What matters of a job's state (pure)."""
    before = environ.get("SLURM_RESTART_COUNT", "0")
    return policy.Scheduled(
        running=job.state in ("RUNNING", "SIGNALING", "SUSPENDED", "STOPPED", "RESIZING"),
        requeued=job.waiting or job.restarts > (int(before) if before.isdigit() else 0),
        preempting=job.preempt_time is not None,
        timed_out=job.state in TIME_LIMIT or job.reason == "TimeLimit",
        requeueable=job.requeue,
    )


def requeue(
    decision: policy.RequeueDecision, parent: int, inbox: Inbox, output: Output
) -> int | None:
    """Have the job requeued; returns the exit code that does it, or None for its own.

    None: the run ends with its own exit code. ``parent`` is the process that started us.
    """
    job_id = client.own_id()
    if job_id is None or decision.requeue == "no":
        return None
    if decision.requeue == "ask":
        try:
            client.requeue(job_id)
            output.say(f"SLURM job {job_id} is back in the queue")
        except client.SlurmError as error:
            output.error(f"SLURM does not put job {job_id} back in the queue: {error}")
            return _by_exit_code(decision, parent, inbox, output)
    if not is_batch_process():
        stay(parent, inbox, TO_BE_ENDED_S)  # or the script would go on with its next line
    return None


def _by_exit_code(
    decision: policy.RequeueDecision, parent: int, inbox: Inbox, output: Output
) -> int | None:
    try:
        codes = client.requeue_exit_codes()
    except client.SlurmError as error:
        output.error(f"can't ask SLURM which exit codes put a job back: {error}")
        codes = frozenset()
    if codes:
        code = PREEMPTED if PREEMPTED in codes else min(codes)
        output.say(f"exit code {code} puts the job back in the queue (RequeueExit)")
        return code
    output.say("submit the job again: it goes on where it was saved")
    if decision.reason == policy.PREEMPTING:  # its end puts it back, but not if it ends by itself
        stay(parent, inbox, ASK_LONG_S)
    return None


def stay(parent: int, inbox: Inbox, seconds: float) -> None:
    """Wait until SLURM kills us: a batch script that ended by itself would end the job.

    Ctrl-C ends the wait, and the end of the script that started us: SLURM may not know us then.
    """
    give_up = time.monotonic() + seconds
    while (left := give_up - time.monotonic()) > 0 and os.getppid() == parent:
        if inbox.get(min(left, 0.5)) == signal.SIGINT:
            return
