"""``plaunch script.py``: run it and say how it ended, or only show what would run."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from launcher.core.console.console import (
    Output,
    problem_lines,
    ranks_in_words,
    result_lines,
    table,
)
from launcher.core.errors import ClusterError, PlacementError, RunDirError, UsageError
from launcher.core.exit_codes import NOT_AS_ASKED, by_signal
from launcher.core.job import Program, ProgramKind, Result, RunOptions
from launcher.request.dispatch import execute
from launcher.request.make_cluster import make_cluster
from launcher.request.program import make_program, read_function
from launcher.request.request import make_job
from launcher.request.values import from_command_line

if TYPE_CHECKING:
    from launcher.request.discovery import Discovered


def run_typed(typed: argparse.Namespace) -> int:
    """Run the program that was typed; returns the exit code. Raises UsageError."""
    output = Output(quiet=typed.quiet, verbose=typed.verbose)
    program = _program(typed)
    options = from_command_line(vars(typed), os.environ)
    here, queue = (show_plan, _show_script) if typed.dry_run else (run_here, _run_queued)
    try:
        return execute(options, program, output, here=here, queue=queue)
    except RunDirError as error:
        raise UsageError(str(error)) from error
    except PlacementError as error:
        output.error(str(error))
        return NOT_AS_ASKED
    except ClusterError as error:
        output.block(problem_lines(error.problems))
        return NOT_AS_ASKED


def _program(typed: argparse.Namespace) -> Program:
    kind: ProgramKind = "script"
    if typed.module or typed.no_python:
        kind = "module" if typed.module else "program"
    program = make_program(kind, typed.program, typed.args, typed.compat)
    if typed.function is not None:
        return read_function(typed.function, typed.program, typed.compat)
    return program


def _run_queued(
    options: RunOptions, program: Program, discovered: Discovered, output: Output
) -> int:
    from launcher.batch.run import run_and_report

    return run_and_report(options, program, discovered, output)


def _show_script(
    options: RunOptions, program: Program, discovered: Discovered, output: Output
) -> int:
    from launcher.batch.run import show_script

    return show_script(options, program, discovered, output)


def run_here(options: RunOptions, program: Program, discovered: Discovered, output: Output) -> int:
    """Run, print how it ended, and return the exit code.

    Raises UsageError, ClusterError, PlacementError, RunDirError.
    """
    from launcher.controller import run

    result = run.execute(options, program, discovered, output)
    if result.verdict is not None:
        output.verdict(result.verdict)
    if result.state == "failed":
        output.error(f"failed after {result.seconds:.1f} s; logs in {result.run_dir}/logs")
    else:
        output.summary(result_lines(result))
    if result.state == "preempted" and not _is_in_batch_job(discovered):
        _say_how_to_resume(options, program, result, output)
    return result.exit_code


def _is_in_batch_job(discovered: Discovered) -> bool:
    """Whether the run is of a batch job: that is requeued by itself, or its script run again."""
    if discovered.allocation is None:
        return False
    from launcher.controller import requeue

    return requeue.is_batch(os.environ)


def _say_how_to_resume(
    options: RunOptions, program: Program, result: Result, output: Output
) -> None:
    """The line to type, with the folder as short as it can be typed from here."""
    from launcher.request.resume_command import resume_command

    near = os.path.relpath(result.run_dir)
    folder = result.run_dir if near.startswith("..") else near
    line = resume_command(options, program, folder, os.environ)
    if line is not None:
        output.error(f"to go on, type: {line}")


def show_plan(options: RunOptions, program: Program, discovered: Discovered, output: Output) -> int:
    """``--dry-run``: where every rank would run, and what it would be told.

    Raises UsageError, ClusterError, PlacementError, RunDirError.
    """
    from launcher.controller import rendezvous
    from launcher.controller.agents.fleet import Interrupted
    from launcher.controller.placing.placement import wanted_nodes
    from launcher.controller.placing.plan import prepare
    from launcher.controller.run import agents
    from launcher.rundir.rundir import RunDir

    job = make_job(options, program)
    rundir = RunDir(job)
    rundir.check()
    goes_on = " (it goes on from what is there)" if rundir.is_resumed() else ""
    with agents(job, make_cluster(options, discovered, output), output) as fleet:
        try:
            nodes = wanted_nodes(job, fleet.nodes())
            fleet.begin(nodes)
            plan = prepare(job, nodes, fleet, output)
        except Interrupted as interruption:
            return by_signal(interruption.number)
    meeting = rendezvous.Rendezvous(
        "<first node>", 0, 1, plan.world_size, len(plan.places), job.id, job.run_dir,
        job.max_restarts,
    )  # fmt: skip
    words = [program.target, *program.args]
    lines = [
        f"would run {program.kind}: {' '.join(map(repr, words))}",
        *([] if program.compat is None else [f"with the engine for {program.compat}"]),
        f"run folder: {job.run_dir}{goes_on}",
    ]
    rows = [("NODE", "RANKS", "GPUS", "PYTHON", "FOLDER")]
    for place in plan.places:
        ranks = range(place.first_rank, place.first_rank + place.num_ranks)
        node = place.node
        gpus = ",".join(place.gpus) or "none"
        rows.append((node.name, ranks_in_words(ranks), gpus, node.python, node.workdir))
    names = sorted({*rendezvous.rank_env(meeting, plan.places[0], 0), *rendezvous.NODE_NAMES})
    lines += table(rows, indent="")
    lines.append(f"each rank gets: {' '.join(names)}")
    if job.env:
        lines.append(f"and from --env: {' '.join(sorted(job.env))}")
    output.stdout("\n".join(lines) + "\n")
    return 0
