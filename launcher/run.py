"""Running a request to its end, and telling how it ended."""

from __future__ import annotations

from launcher.clusters.base import ClusterError
from launcher.job import Program, Result
from launcher.output import Output, problem_lines, result_lines, verdict_lines
from launcher.request import UsageError, Wanted, check_script, find_cluster, make_job

NOT_AS_ASKED = 3


def execute(wanted: Wanted, program: Program, output: Output) -> Result:
    """Run to the end. Raises UsageError, ClusterError, PlacementError, RunDirError."""
    from launcher import controller

    cluster = find_cluster(wanted, output)
    check_script(cluster, program)
    return controller.run(make_job(wanted, program), cluster, output)


def run_and_tell(wanted: Wanted, program: Program, output: Output, *, dry_run: bool) -> int:
    """Run, print how it ended, and return the exit code. Raises UsageError."""
    from launcher.placement import PlacementError
    from launcher.rundir import RunDirError

    try:
        if dry_run:
            from launcher.look import show_plan

            return show_plan(wanted, program, output)
        result = execute(wanted, program, output)
    except RunDirError as error:
        raise UsageError(str(error)) from error
    except PlacementError as error:
        output.error(str(error))
        return NOT_AS_ASKED
    except ClusterError as error:
        output.block(problem_lines(error.problems))
        return NOT_AS_ASKED
    if result.verdict is not None:
        output.block(verdict_lines(result.verdict))
    if result.state == "failed":
        output.error(f"failed after {result.seconds:.1f} s; logs in {result.run_dir}/logs")
    else:
        output.summary(result_lines(result))
    return result.exit_code
