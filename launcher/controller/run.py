"""Leading a run from here: the folder, the agents, the attempts, the result."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from launcher.controller.agents.fleet import Fleet, Interrupted, signals_into
from launcher.controller.agents.link import Inbox
from launcher.controller.placing.placement import wanted_nodes
from launcher.core.console.console import Output
from launcher.core.errors import (
    AlreadySucceeded,
    ClusterError,
    PlacementError,
    RunDirError,
)
from launcher.core.job import Job, Program, Result, RunOptions
from launcher.core.limits import more_open_files
from launcher.request.make_cluster import check_script, make_cluster
from launcher.request.request import make_job
from launcher.request.values import is_requeued
from launcher.rundir.rundir import RunDir

if TYPE_CHECKING:
    from launcher.clusters.base import Cluster
    from launcher.request.discovery import Discovered


def execute(
    options: RunOptions, program: Program, discovered: Discovered, output: Output
) -> Result:
    """Run to the end, with this process as the controller.

    Raises UsageError, ClusterError, PlacementError, RunDirError.
    """
    cluster = make_cluster(options, discovered, output)
    check_script(cluster, program)
    return lead(make_job(options, program), cluster, Inbox(), output)


@contextlib.contextmanager
def agents(job: Job, cluster: Cluster, output: Output) -> Iterator[Fleet]:
    """The cluster with its agents for a while; nothing of the user's is started."""
    inbox = Inbox()
    fleet = Fleet(job, cluster, inbox, output)
    with more_open_files(), signals_into(inbox):
        try:
            yield fleet
        finally:
            fleet.close()


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
            result = carry_out(job, cluster, fleet, rundir, output, started)
        except (ClusterError, PlacementError, RunDirError):
            raise
        except Exception as error:  # a fault of ours; no run ends without a result
            from launcher.controller import attempts

            rundir.finish(attempts.broken(job, error, rundir, started))
            raise
        fleet.close()
        decision = None
        if cluster.in_slurm_job:
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
    from launcher.rundir.results import result_from_data

    try:
        result = result_from_data(error.result)
    except (KeyError, TypeError, ValueError):  # of another version
        raise error from None
    output.say(f"SLURM has started job {mine} again, but its run has succeeded: nothing is left")
    rundir.finish(result)  # the copy that --result asks for may be missing
    return result


def carry_out(
    job: Job, cluster: Cluster, fleet: Fleet, rundir: RunDir, output: Output, started: float
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
        # takes as long as an agent's start: both at once
        from launcher.controller import attempts

        if interrupted is not None:
            return attempts.cancelled_early(job, interrupted.number, rundir, started)
        return attempts.run(job, nodes, fleet, rundir, output, started)
    except (ClusterError, PlacementError, RunDirError) as error:
        if rundir.abandon(str(error)):
            index.put_back(job.run_dir, former)
        raise


def remember(job: Job, cluster: Cluster) -> None:
    """Note the run where ``plaunch status`` looks for it, from whatever folder."""
    from launcher.rundir import index

    slurm, whole_job = None, False
    if cluster.in_slurm_job:
        from launcher.clusters.slurm import client

        slurm, whole_job = client.own_id(), client.is_whole_job()
    entry = index.Entry(
        run_dir=job.run_dir,
        cluster=cluster.name,
        job_id=job.id,
        host=socket.gethostname(),
        pid=os.getpid(),
        started=time.time(),
        slurm=slurm,
        program=job.program.target,
        whole_job=whole_job,
    )
    index.record(entry)
