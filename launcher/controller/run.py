"""Running a request to its end, and telling how it ended."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from launcher.clusters.base import ClusterError
from launcher.controller.agents.fleet import Fleet, Interrupted, signals_into
from launcher.controller.agents.link import Inbox
from launcher.controller.placing.placement import PlacementError, wanted_nodes
from launcher.core.console.console import Output, problem_lines, result_lines
from launcher.core.job import Job, Program, Result
from launcher.core.limits import more_open_files
from launcher.request.request import (
    UsageError,
    Wanted,
    check_script,
    find,
    is_requeued,
    is_submitted,
    make_cluster,
    make_job,
)
from launcher.rundir.rundir import AlreadySucceeded, RunDir, RunDirError

if TYPE_CHECKING:
    from launcher.clusters.base import Cluster
    from launcher.request.discovery import Found

NOT_AS_ASKED = 3


def execute(wanted: Wanted, program: Program, output: Output) -> Result:
    """Run to the end. Raises UsageError, ClusterError, PlacementError, RunDirError."""
    found = find(wanted)
    if is_submitted(wanted, found):
        from launcher.batch import run as queued

        return queued.execute(wanted, program, found, output)
    return execute_here(wanted, program, found, output)


def execute_here(wanted: Wanted, program: Program, found: Found, output: Output) -> Result:
    """The same with this process as the controller."""
    cluster = make_cluster(wanted, found, output)
    check_script(cluster, program)
    return lead(make_job(wanted, program), cluster, Inbox(), output)


def lead(job: Job, cluster: Cluster, inbox: Inbox, output: Output) -> Result:
    """Be the controller of a job; a signal put into ``inbox`` counts like one that is sent to us.

    Raises ClusterError, PlacementError, RunDirError.
    """
    started, parent = time.monotonic(), os.getppid()
    rundir = RunDir(job)
    fleet = Fleet(job, cluster, inbox, output)
    with contextlib.ExitStack() as stack:
        stack.enter_context(more_open_files())
        stack.callback(rundir.close)
        try:
            rundir.open()
        except AlreadySucceeded as error:
            return _of_a_requeued_job(error, rundir, output)
        stack.callback(fleet.close)
        stack.enter_context(signals_into(fleet.inbox))
        try:
            result = carry_out(job, cluster.name, fleet, rundir, output, started)
        except (ClusterError, PlacementError, RunDirError):
            raise
        except Exception as error:  # a fault of ours; no run ends without a result
            from launcher.controller import attempts as controller

            rundir.finish(controller.broken(job, error, rundir, started))
            raise
        fleet.close()
        decision = None
        if cluster.name == "slurm":
            from launcher.controller import requeue

            result, decision = requeue.settle(result, output)
        rundir.finish(result)
        complaint = rundir.complaint()
        if complaint is not None:
            output.error(complaint)
        if decision is not None:
            rundir.close()  # the job's next run may begin while we wait for the end of this one
            code = requeue.requeue(decision, parent, fleet.inbox, output)
            result = result if code is None else replace(result, exit_code=code)
    return result


def _of_a_requeued_job(error: AlreadySucceeded, rundir: RunDir, output: Output) -> Result:
    """The result of this very SLURM job's former run. Raises ``error`` if it is another's."""
    mine = os.environ.get("SLURM_JOB_ID")
    if not is_requeued(os.environ) or mine is None or error.job.get("slurm_job_id") != mine:
        raise error
    from launcher.batch.outcome import read_result

    try:
        result = read_result(error.result)
    except (KeyError, TypeError, ValueError):  # of another version
        raise error from None
    output.say(f"SLURM has started job {mine} again, but its run has succeeded: nothing is left")
    rundir.finish(result)  # the copy that --result asks for may be missing
    return result


def carry_out(
    job: Job, cluster: str, fleet: Fleet, rundir: RunDir, output: Output, started: float
) -> Result:
    """Start an agent on every node, and follow the run.

    Raises ClusterError, PlacementError, RunDirError; of a run that never started nothing is left.
    """
    from launcher.rundir import index

    former = index.entry_of(job.run_dir)
    remember(job, cluster)  # before the nodes are there: that may take its time
    interrupted = None
    try:
        try:
            nodes = wanted_nodes(job, fleet.nodes())
            fleet.begin(nodes)
        except Interrupted as interruption:
            interrupted = interruption
        from launcher.controller import (
            attempts as controller,  # takes as long as an agent's start: both at once
        )

        if interrupted is not None:
            return controller.cancelled_early(job, interrupted.number, rundir, started)
        return controller.run(job, nodes, fleet, rundir, output, started)
    except (ClusterError, PlacementError, RunDirError) as error:
        if rundir.abandon(str(error)):
            index.put_back(job.run_dir, former)
        raise


def remember(job: Job, cluster: str) -> None:
    """Note the run where ``plaunch status`` looks for it, from whatever folder."""
    from launcher.rundir import index

    slurm, whole_job = None, False
    if cluster == "slurm":
        from launcher.clusters.slurm import client as slurmctl

        slurm, whole_job = slurmctl.own_id(), slurmctl.is_whole_job()
    entry = index.Entry(
        run_dir=job.run_dir,
        cluster=cluster,
        job_id=job.id,
        host=socket.gethostname(),
        pid=os.getpid(),
        started=time.time(),
        slurm=slurm,
        program=job.program.target,
        whole_job=whole_job,
    )
    index.record(entry)


def run_and_tell(wanted: Wanted, program: Program, output: Output, *, dry_run: bool) -> int:
    """Run, print how it ended, and return the exit code. Raises UsageError."""
    try:
        found = find(wanted)
        if is_submitted(wanted, found):
            from launcher.batch import run as queued

            return queued.run_and_tell(wanted, program, found, output, dry_run=dry_run)
        if dry_run:
            from launcher.cli.nodes import show_plan

            return show_plan(wanted, program, output)
        result = execute_here(wanted, program, found, output)
    except RunDirError as error:
        raise UsageError(str(error)) from error
    except PlacementError as error:
        output.error(str(error))
        return NOT_AS_ASKED
    except ClusterError as error:
        output.block(problem_lines(error.problems))
        return NOT_AS_ASKED
    if result.verdict is not None:
        output.verdict(result.verdict)
    if result.state == "failed":
        output.error(f"failed after {result.seconds:.1f} s; logs in {result.run_dir}/logs")
    else:
        output.summary(result_lines(result))
    if result.state == "preempted" and not comes_back(found):
        say_how_to_go_on(wanted, program, result, output)
    return result.exit_code


def comes_back(found: Found) -> bool:
    """Whether the run is of a batch job: that comes back by itself, or its script is run again."""
    if found.kind != "slurm":
        return False
    from launcher.controller import requeue

    return requeue.is_batch(os.environ)


def say_how_to_go_on(wanted: Wanted, program: Program, result: Result, output: Output) -> None:
    """The line to type, with the folder as short as it can be typed from here."""
    from launcher.request.resume_command import again

    near = os.path.relpath(result.run_dir)
    line = again(wanted, program, result.run_dir if near.startswith("..") else near, os.environ)
    if line is not None:
        output.error(f"to go on, type: {line}")
