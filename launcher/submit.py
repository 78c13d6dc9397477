"""From a SLURM login node: check a run, put it into the queue, wait for it, bring its result."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from launcher import batch_script, index, slurmctl
from launcher.batch_options import merge
from launcher.clusters.base import ClusterError, NodeError
from launcher.config import SlurmOptions
from launcher.job import Program, Result
from launcher.output import Output
from launcher.request import UsageError, Wanted, make_job

if TYPE_CHECKING:
    from launcher.discovery import Found

# sbatch takes these from the environment, over what the script says.
_OTHER_NAMES = {"time": "SBATCH_TIMELIMIT", "array": "SBATCH_ARRAY_INX"}


@dataclass(frozen=True)
class Submitted:
    """A job in the queue, and where its traces will be. ``array`` is the tasks' numbers."""

    id: str
    request: batch_script.Request
    folder: str
    array: str | None = None

    def run_dir(self, task: str | None = None) -> Path:
        """The run's folder (of a task, in an array)."""
        return Path(self.folder, batch_script.run_dir(self.request, self.id, task))

    def files(self, task: str | None = None) -> tuple[Path, Path]:
        """SLURM's files of what is printed, and of errors and our own words."""
        number = self.id if task is None else f"{self.id}_{task}"
        return Path(self.folder, f"slurm-{number}.out"), Path(self.folder, f"slurm-{number}.err")


def run_and_tell(
    wanted: Wanted, program: Program, found: Found, output: Output, *, dry_run: bool
) -> int:
    """Submit, wait (if that is wanted), and return the exit code. Raises UsageError, ClusterError.

    What the run itself says, its verdict too, has come from the job.
    """
    request = make_request(wanted, program, found, output.talk)
    script = batch_script.render(request)
    if dry_run:
        output.stdout(script)
        return 0
    job = submit(request, script, found, output)
    if wanted.detach:
        output.stdout(f"{job.id}\n")
        return 0
    raise NotImplementedError


def execute(wanted: Wanted, program: Program, found: Found, output: Output) -> Result:
    """The same for ``launch()``. Raises UsageError, ClusterError."""
    raise NotImplementedError


def make_request(
    wanted: Wanted, program: Program, found: Found, talk: str | None = None
) -> batch_script.Request:
    """What the script depends on. Raises UsageError."""
    make_job(wanted, program)  # what is wrong with any run is wrong with this one
    if wanted.array is not None and wanted.detach and wanted.result_file is not None:
        raise UsageError("--result of a whole array is written at its end: leave --detach out")
    file, each = found.file, found.each
    assert each is not None
    workdir = file.workdir if file else None
    if workdir not in (None, "."):
        # They start at the current folder, as everywhere; the job is in another one.
        wanted = replace(
            wanted, run_dir=_absolute(wanted.run_dir), result_file=_absolute(wanted.result_file)
        )
    return batch_script.Request(
        run=wanted,
        program=program,
        python=each.python,
        options=merge(wanted, file.slurm if file else SlurmOptions()),
        workdir=workdir,
        env_names=tuple(sorted({*each.env, *wanted.env})),
        talk=talk,
    )


def check(request: batch_script.Request, folder: str) -> None:
    """Refuse what would only fail after hours in the queue. Raises UsageError, ClusterError."""
    if not os.path.isdir(folder):
        raise UsageError(f"no folder {folder}: the job is to run there (`workdir:`)")
    target, kind = request.program.target, request.program.kind
    if kind == "script" or (kind == "program" and "/" in target):
        path = os.path.join(folder, target)
        if not os.path.exists(path):
            raise UsageError(
                f"script not found: {target} (in {folder}); check the path, or use -m for "
                "a module and --no-python for another program"
            )
        if not os.access(path, os.R_OK if kind == "script" else os.X_OK) or os.path.isdir(path):
            raise UsageError(f"can't run {target} (in {folder}): it is not ours to read and run")
    if os.path.isabs(request.python) and not os.access(request.python, os.X_OK):
        raise UsageError(f"no interpreter {request.python}: set `python:` in the cluster file")
    if shutil.which("sbatch") is None:
        raise ClusterError([_problem("there is no sbatch here", "use a login node of SLURM's")])


def submit(request: batch_script.Request, script: str, found: Found, output: Output) -> Submitted:
    """Put the job into the queue. Raises UsageError, ClusterError with SLURM's own words."""
    assert found.each is not None
    folder = os.path.abspath(request.workdir or ".")
    check(request, folder)
    if request.run.result_file is not None:
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(folder, request.run.result_file))  # it is of another run
    env = environment(request, {**found.each.env, **request.run.env}, os.environ)
    text = script.encode("utf-8", "surrogateescape")
    try:
        number = slurmctl.submit(text, env)
    except slurmctl.SlurmAway as error:
        advice = "nothing is queued; try again when it is back"
        raise ClusterError([_problem(str(error), advice)]) from error
    except slurmctl.SlurmError as error:
        raise ClusterError([_problem(str(error), "nothing is queued")]) from error
    job = Submitted(number, request, folder, request.options.array)
    remember(job)
    what = "array" if job.array else "job"
    output.say(f"{what} {job.id} is queued: {request.program.target}")
    return job


def environment(
    request: batch_script.Request, env: Mapping[str, str], ours: Mapping[str, str]
) -> dict[str, str]:
    """What sbatch gets: our own variables and the run's, without any that overrule the script."""
    found = {**ours, **env}
    for line in batch_script.directives(request):
        name = line.removeprefix("--").partition("=")[0].partition(" ")[0]
        found.pop("SBATCH_" + name.upper().replace("-", "_"), None)
        found.pop(_OTHER_NAMES.get(name, ""), None)
    found.pop("SBATCH_EXPORT", None)  # the run's own variables travel in it
    return found


def remember(job: Submitted) -> None:
    """Note the job where ``plaunch status`` looks for it, from whatever folder."""
    out, err = job.files()
    entry = index.Entry(
        run_dir=str(job.run_dir()),
        cluster="slurm",
        host=socket.gethostname(),
        started=time.time(),
        slurm=job.id,
        program=job.request.program.target,
        out=None if job.array else str(out),
        err=None if job.array else str(err),
    )
    index.record(entry)


def _absolute(path: str | None) -> str | None:
    return None if path is None else os.path.abspath(path)


def _problem(problem: str, advice: str) -> NodeError:
    return NodeError("SLURM", problem, advice)
