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
from pathlib import Path

from launcher.clusters.slurm.jobs import (
    ACCOUNTING_FIELDS,
    QUEUE_FIELDS,
    SEPARATOR,
    Partition,
    SlurmJob,
    numbers,
    parse_accounting,
    parse_jobs,
    parse_partitions,
    parse_queue,
)

TIMEOUT_S = 30.0  # a client whose controller is away gives up by itself after MessageTimeout
JOB_ID = re.compile(r"[0-9]{1,10}(_[0-9]{1,10})?")

_AWAY = (
    "Unable to contact slurm controller",
    "Socket timed out",
    "Connection refused",
    "Connection timed out",
    "Zero Bytes were transmitted",
    "Problem talking to the database",
    "failed to open persistent connection",
    "Could not establish a configuration source",
    "resolve_ctls_from_dns_srv",  # there is no configuration, and no server of it is found
    "Unexpected message received",  # scontrol requeue, while the controller is away
)
_UNKNOWN = re.compile("Invalid job id|Job \\S+ not found|No jobs in the system")
_OUTLIVED = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP)


class SlurmError(Exception):
    """SLURM refused, or a command of it can't be run: what was said."""


class SlurmAway(SlurmError):
    """SLURM's controller (or its database) can't be reached now."""


def trouble(error: SlurmError) -> str:
    """What went wrong, in a sentence."""
    what = "SLURM can't be reached" if isinstance(error, SlurmAway) else "SLURM doesn't do it"
    return f"{what}: {error}"


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
    form = SEPARATOR.join(QUEUE_FIELDS)
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
    words = ("sacct", "--noheader", "--parsable2", f"--delimiter={SEPARATOR}", "--allocations")
    form = ",".join(ACCOUNTING_FIELDS)
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


def partitions(*, timeout_s: float = TIMEOUT_S) -> list[Partition]:
    """The partitions that we may see. Raises SlurmError, SlurmAway."""
    return parse_partitions(_run("scontrol", "-o", "show", "partition", timeout_s=timeout_s))


# -- telling


def submit(
    script: bytes,
    env: Mapping[str, str],
    options: Sequence[str] = (),
    *,
    timeout_s: float = 4 * TIMEOUT_S,
) -> str:
    """Put a batch script into the queue and return its job's id. Raises SlurmError, SlurmAway.

    The job gets all of ``env``, which no command line shows; ``options`` overrule the script's own.
    """
    words = ("sbatch", "--parsable", "--export=ALL", *options)
    out = _run(*words, timeout_s=timeout_s, text=script, env=env)
    found = re.match(r"\d+", out)
    if found is None:
        raise SlurmError(f"sbatch gave no job id but {out.strip()[:200]!r}")
    return found[0]


def begin_now(job_id: str, *, timeout_s: float = TIMEOUT_S) -> None:
    """Let a job begin that was to begin later. Raises SlurmError, SlurmAway."""
    words = ("scontrol", "update", f"JobId={_checked(job_id)}", "StartTime=now")
    _run(*words, timeout_s=timeout_s)


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
