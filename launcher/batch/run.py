"""A run through SLURM's queue, from a login node: submitted, followed, its result brought back."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from launcher.batch import follow, outcome, script
from launcher.batch.poll import Heard, LeftRunning, listening
from launcher.batch.submit import Submitted, forget_folder, make_request, submit
from launcher.clusters.slurm import client
from launcher.clusters.slurm.reasons import exceeds_limits
from launcher.core.console.console import Output
from launcher.core.errors import ClusterError, UsageError
from launcher.core.exit_codes import NOT_AS_ASKED
from launcher.core.job import Program, Result, RunOptions
from launcher.rundir import files, rundir
from launcher.rundir.results import result_as_data

if TYPE_CHECKING:
    from launcher.request.discovery import Discovered

REFUSAL_S = 5.0  # for SLURM's word on a job that is beyond a limit


def show_script(
    options: RunOptions, program: Program, discovered: Discovered, output: Output
) -> int:
    """``--dry-run``: print the batch script, and nothing else. Raises UsageError."""
    request = make_request(options, program, discovered, output.talk)
    output.raw(script.render(request), err=False)  # to the byte
    return 0


def run_and_report(
    options: RunOptions, program: Program, discovered: Discovered, output: Output
) -> int:
    """Submit, wait (unless ``--detach``), and return the exit code. Raises UsageError.

    What the run itself says, its verdict too, comes from the job.
    """
    request = make_request(options, program, discovered, output.talk)
    with listening() as heard:
        try:
            job = submit(request, discovered)
            _say_queued(job, output)
            if options.detach:
                _cancel_if_never_starts(job)
                output.stdout(f"{job.id}\n")
                return 0
            wait = _end_of_array if job.tasks else _end_of_job
            with _empty_folders_go(job):
                return wait(job, output, heard)
        except ClusterError as error:
            output.error("; ".join(f"{one.problem} ({one.advice})" for one in error.problems))
            return NOT_AS_ASKED
        except LeftRunning as left:
            output.error(str(left))
            return left.exit_code


def execute(
    options: RunOptions, program: Program, discovered: Discovered, output: Output
) -> Result:
    """Submit and wait, for ``launch()``. Raises UsageError, ClusterError, LeftRunning."""
    with listening() as heard:
        job = begin(options, program, discovered, output)
        return end(job, output, heard)


def begin(
    options: RunOptions, program: Program, discovered: Discovered, output: Output
) -> Submitted:
    """Submit a run with one result. Raises UsageError, RunDirError, ClusterError."""
    if options.detach or options.array is not None:
        raise UsageError(
            "launch() waits for one result: detach and array are for the plaunch command"
        )
    request = _with_function(make_request(options, program, discovered, output.talk))
    try:
        job = submit(request, discovered)
    except BaseException:
        _remove_function(request, request.workdir or ".")
        raise
    _say_queued(job, output)
    return job


def end(job: Submitted, output: Output, heard: SimpleQueue[Heard]) -> Result:
    """Wait for the result of a run that was begun. Raises LeftRunning, ClusterError."""
    try:
        with _empty_folders_go(job):
            result = follow.follow(job.id, job.traces(), output, heard)
    except ClusterError:  # it never starts
        _remove_function(job.request, job.folder)
        raise
    _remove_function(job.request, job.folder)
    _finish(job, result, output)
    return result


def _cancel_if_never_starts(job: Submitted) -> None:
    """Nobody waits for the job: if it is beyond a limit, SLURM's word on it is waited for here.

    Raises ClusterError for a job that can't ever start.
    """
    give_up = time.monotonic() + REFUSAL_S
    with contextlib.suppress(client.SlurmError):
        queued = client.show(job.id)
        if queued is None or not exceeds_limits(queued, client.partitions()):
            return
        while queued is not None and queued.waiting and time.monotonic() < give_up:
            why = follow.can_not_start(queued)
            if why is not None:
                _forget(job)
            follow.refuse(job.id, why)
            time.sleep(0.1)
            queued = client.show(job.id)


@contextlib.contextmanager
def _empty_folders_go(job: Submitted) -> Iterator[None]:
    """What was made for a job that never began does not stay."""
    try:
        yield
    except LeftRunning:
        raise
    except BaseException:
        _forget(job)
        raise
    _forget(job)


def _forget(job: Submitted) -> None:
    if job.request.run.run_dir is None:
        forget_folder(job.traces().run_dir)


def _say_queued(job: Submitted, output: Output) -> None:
    program = job.request.program.target
    output.say(f"{'array' if job.tasks else 'job'} {job.id} is in the queue: {program}")


def _end_of_job(job: Submitted, output: Output, heard: SimpleQueue[Heard]) -> int:
    result = follow.follow(job.id, job.traces(), output, heard)
    if not result.ranks and result.state != "succeeded":
        # The run itself had no time to say anything of its end.
        early = "" if result.attempts else " before it began"
        why = (
            result.verdict.message if result.verdict else f"job {job.id} was {result.state}{early}"
        )
        output.error(why)
    if result.state == "preempted" and job.request.program.kind != "function":
        from launcher.request.resume_command import resume_command

        run = job.request.run
        line = resume_command(run, job.request.program, result.run_dir, os.environ)
        output.error(f"to go on, type: {line}")
    _finish(job, result, output)
    return result.exit_code


def _finish(job: Submitted, result: Result, output: Output) -> None:
    """The run wrote ``--result`` itself, unless it had no time to."""
    if job.result_file is not None and not os.path.exists(job.result_file):
        _write(job.result_file, result_as_data(result), output)


def _end_of_array(job: Submitted, output: Output, heard: SimpleQueue[Heard]) -> int:
    """Wait for all tasks; the worst end is the array's."""
    traces = {number: job.traces(number) for number in job.tasks}
    results = follow.follow_array(job.id, traces, output, heard)
    states = [result.state for result in results.values()]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    output.say(f"array {job.id} is over: {counts}")
    worst = outcome.worst(results.values())
    if job.result_file is not None:
        tasks = {str(number): result_as_data(one) for number, one in results.items()}
        data = {"job_id": job.id, "state": worst.state, "exit_code": worst.exit_code}
        _write(job.result_file, {**data, "tasks": tasks}, output)
    return worst.exit_code


def _write(file: str, data: Mapping[str, Any], output: Output) -> None:
    try:
        rundir.write_whole(file, data)
    except OSError as error:
        output.error(f"can't write the result to {file}: {error.strerror}")


def _with_function(request: script.Request) -> script.Request:
    """A function for the job: pickled into its run folder, where only we can read it.

    It stays there as long as the job may come back for it. So the folder is known before the job's
    number is.
    """
    program, run = request.program, request.run
    if program.kind != "function":
        return request
    folder = request.workdir or "."
    own = run.run_dir or f"plaunch_runs/{script.job_name(program)}-{os.urandom(4).hex()}"
    file = Path(folder, own, f"function-{os.urandom(4).hex()}.pickle")
    try:
        files.make_folder(file.parent)
        fd = files.open_own(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(fd, "wb") as stream:
            stream.write(program.pickled)
    except OSError as error:
        raise UsageError(f"can't write the function to {file}: {error.strerror}") from error
    inside = os.path.join(own, file.name)
    return replace(request, run=replace(run, run_dir=own), function_file=inside)


def _remove_function(request: script.Request, folder: str) -> None:
    if request.function_file is not None:
        Path(folder, request.function_file).unlink(missing_ok=True)
