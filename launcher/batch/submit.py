"""A run into SLURM's queue: from the request to the script, its checks, and the job's number."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.batch import script
from launcher.batch.environ import without_job
from launcher.batch.follow import Traces
from launcher.batch.options import merge
from launcher.clusters.slurm import client
from launcher.clusters.slurm.jobs import numbers
from launcher.clusters.slurm.reasons import too_many_nodes
from launcher.core.errors import ClusterError, NodeError, UsageError
from launcher.core.job import Program, RunOptions
from launcher.request.cluster_file import SlurmOptions
from launcher.request.request import make_job
from launcher.rundir import index
from launcher.rundir.rundir import RunDir

if TYPE_CHECKING:
    from launcher.request.discovery import Discovered

# sbatch takes these from the environment, over what the script says.
_OTHER_NAMES = {"time": "SBATCH_TIMELIMIT", "array": "SBATCH_ARRAY_INX"}


LATER_S = 60  # after its submission a job begins at the latest, as far as we are concerned


@dataclass(frozen=True)
class Submitted:
    """A job in the queue; ``folder`` is its work folder. An array has ``tasks``."""

    id: str
    request: script.Request
    folder: str
    tasks: Sequence[int] = ()
    submitted: float = 0.0  # unix time

    def traces(self, task: int | None = None) -> Traces:
        """Where the job (or a task of the array) leaves what it prints and its result."""
        run_dir = script.run_dir(self.request, self.id, task)
        number = self.id if task is None else f"{self.id}_{task}"
        # of an array's tasks all are in one folder, which is there before any of them begins
        out = Path(self.folder, script.run_dir(self.request, self.id), f"slurm-{number}")
        return Traces(Path(self.folder, run_dir), Path(f"{out}.out"), Path(f"{out}.err"))

    @property
    def entry(self) -> index.Entry:
        """What ``plaunch status`` finds it by."""
        traces = self.traces()
        return index.Entry(
            run_dir=str(traces.run_dir),
            cluster="slurm",
            host=socket.gethostname(),
            started=self.submitted,
            slurm=self.id,
            program=self.request.program.target,
            out=None if self.tasks else str(traces.out),
            err=None if self.tasks else str(traces.err),
        )

    @property
    def result_file(self) -> str | None:
        """The copy of the result that ``--result`` asks for."""
        file = self.request.run.result_file
        return None if file is None else os.path.join(self.folder, file)


def make_request(
    options: RunOptions, program: Program, discovered: Discovered, talk: str | None = None
) -> script.Request:
    """What the script depends on. Raises UsageError."""
    make_job(options, program)  # what is wrong with any run is wrong with this one
    if options.array is not None and options.detach and options.result_file is not None:
        raise UsageError("--result of a whole array is written at its end: leave --detach out")
    file, each = discovered.file, discovered.each
    assert each is not None
    options = replace(
        options, run_dir=_at_home(options.run_dir), result_file=_at_home(options.result_file)
    )
    workdir = os.path.expanduser(file.workdir) if file and file.workdir else None
    if workdir not in (None, "."):
        # They start at the current folder, as everywhere; the job is in another one.
        options = replace(
            options, run_dir=_absolute(options.run_dir), result_file=_absolute(options.result_file)
        )
    return script.Request(
        run=options,
        program=program,
        python=each.python,
        options=merge(options, file.slurm if file else SlurmOptions()),
        workdir=workdir,
        env_names=tuple(sorted({*each.env, *options.env})),
        talk=talk,
    )


def submit(request: script.Request, discovered: Discovered) -> Submitted:
    """Put the job into the queue.

    Raises UsageError, RunDirError, and ClusterError with SLURM's own words.
    """
    assert discovered.each is not None
    text = script.render(request).encode("utf-8", "surrogateescape")
    folder = os.path.abspath(request.workdir or ".")
    check(request, folder)
    tasks = sorted(numbers(request.options.array or ""))
    env = environment(request, {**discovered.each.env, **request.run.env}, os.environ)
    parent = Path(folder, os.path.dirname(script.run_dir(request, "0")))
    own = request.run.run_dir
    make_folder(parent if own is None else Path(folder, own))
    # SLURM makes no folders for what a job prints. One that is called by the job's number is made
    # when that is known, and only then may the job begin. (SLURM does not check one that is held.)
    later = own is None and "--begin" not in request.options.own
    out = script.run_dir(request, "%A" if tasks else "%j")
    options = [
        *output_options(folder, out, own, tasks),
        *([f"--begin=now+{LATER_S}"] if later else []),
    ]
    try:
        _refuse_impossible(request, env)
        number = client.submit(text, env, options)
        job = Submitted(number, request, folder, tasks, time.time())
    except client.SlurmError as error:
        forget_folder(parent)
        away = "; try again when it answers" if isinstance(error, client.SlurmAway) else ""
        advice = f"nothing is queued{away}"
        raise ClusterError([NodeError("SLURM", _plain(error), advice)]) from error
    remember(job)
    make_folder(job.traces().run_dir)
    if later:
        with contextlib.suppress(client.SlurmError):  # else it begins a little later by itself
            client.begin_now(job.id)
    return job


def make_folder(path: Path) -> None:
    """Make a folder in which a job's files shall be. Raises UsageError if it can't be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        writable = os.access(path, os.W_OK | os.X_OK)
        problem = "no permission to write there"
    except OSError as error:
        writable, problem = False, error.strerror or str(error)
    if not writable:
        raise UsageError(
            f"can't use {path} for the run: {problem}; work in another folder, or choose one by "
            "--run-dir"
        )


def forget_folder(path: Path) -> None:
    """Remove a folder of a job that never began, and that of all runs, if nothing is in them."""
    with contextlib.suppress(OSError):
        path.rmdir()
        path.parent.rmdir()


def output_options(folder: str, run_dir: str, own: str | None, tasks: Sequence[int]) -> list[str]:
    """Where SLURM writes what a job prints: in its run's folder. Words for sbatch.

    ``run_dir`` holds SLURM's own pattern for the number, unless it is the user's ``own`` folder.
    """
    if own is not None:
        run_dir = own.replace("%", "%%")
    number = "%A_%a" if tasks else "%j"
    path = os.path.join(folder, run_dir, f"slurm-{number}")
    return [f"--output={path}.out", f"--error={path}.err"]


def _refuse_impossible(request: script.Request, env: Mapping[str, str]) -> None:
    """More nodes than there are would wait for ever. Raises SlurmError."""
    asked_of_slurm = dict(
        re.split("[= ]", line.removeprefix("--"), maxsplit=1)
        for line in script.directives(request)
        if re.match("--(nodes|partition)[= ]", line)
    )
    least = re.match(r"\d+", asked_of_slurm.get("nodes", "").strip('"'))
    asked = asked_of_slurm.get("partition", "").strip('"') or env.get("SBATCH_PARTITION", "")
    if least is None or int(least[0]) < 2:
        return
    try:
        partitions = client.partitions()
    except client.SlurmAway:
        raise
    except client.SlurmError:
        return  # it does not show them to everybody
    problem = too_many_nodes(int(least[0]), asked, partitions)
    if problem is not None:
        raise client.SlurmError(problem)


def check(request: script.Request, folder: str) -> None:
    """Refuse what would only fail after hours in the queue.

    Raises UsageError, RunDirError, ClusterError.
    """
    if re.search(r"[\x00-\x1f\x7f%\\]", folder):
        raise UsageError(
            f"SLURM can't work in the folder {folder!r}: a %, a backslash or a control character "
            "in its name means something else there"
        )
    if not os.path.isdir(folder):
        raise UsageError(f"no folder {folder} here, where the job is to run: see `workdir:`")
    target, kind = request.program.target, request.program.kind
    if kind == "script" or (kind == "program" and "/" in target):
        path = os.path.join(folder, target)
        if not os.path.exists(path):
            raise UsageError(
                f"script not found: {target} (in {folder}); check the path, or use -m for "
                "a module and --no-python for another program"
            )
        if os.path.isdir(path) or not os.access(path, os.R_OK if kind == "script" else os.X_OK):
            what = "read" if kind == "script" else "run"
            raise UsageError(f"{target} (in {folder}) is there, but it can't be {what}")
    if os.path.isabs(request.python) and not os.access(request.python, os.X_OK):
        raise UsageError(f"no interpreter {request.python} here: see `python:` of the cluster file")
    if request.run.run_dir is not None and not request.options.array:
        RunDir(make_job(request.run, request.program)).check()
    if shutil.which("sbatch") is None:
        advice = "run this on one of SLURM's login nodes"
        raise ClusterError([NodeError("SLURM", "there is no sbatch on this machine", advice)])


def environment(
    request: script.Request, env: Mapping[str, str], ours: Mapping[str, str]
) -> dict[str, str]:
    """What sbatch gets: our own variables and the run's, without any that overrule the script.

    Nor any that tell of the job, or of the run, that we are in: the new one is none of it.
    """
    variables = {**without_job(ours), **env}
    for line in script.directives(request):
        name = re.split(r"[= ]", line.removeprefix("--"), maxsplit=1)[0]
        variables.pop("SBATCH_" + name.upper().replace("-", "_"), None)
        variables.pop(_OTHER_NAMES.get(name, ""), None)
    variables.pop("SBATCH_EXPORT", None)  # the run's own variables travel in it
    return variables


def remember(job: Submitted) -> None:
    """Note the job where ``plaunch status`` looks for it, and forget an older result."""
    if job.result_file is not None:
        with contextlib.suppress(OSError):
            os.unlink(job.result_file)
    index.record(job.entry)


def _at_home(path: str | None) -> str | None:
    """No shell puts our home for the ``~`` in ``--run-dir=~/runs``."""
    return None if path is None else os.path.expanduser(path)


def _absolute(path: str | None) -> str | None:
    return None if path is None else os.path.abspath(path)


def _plain(error: Exception) -> str:
    """SLURM's own words without what every one of them begins with."""
    return re.sub(r"sbatch: (error: )?(Batch job submission failed: )?", "", str(error))
