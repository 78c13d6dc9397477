"""From a user's request to a job and its cluster, for the command line and ``launch()``."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from launcher.core.errors import ConfigError, UsageError
from launcher.core.job import Job, Program, RunOptions
from launcher.core.options import OPTIONS

if TYPE_CHECKING:
    from launcher.request.discovery import Discovered

# More than this is a slip of the finger, which must not cost gigabytes.
MAX_NODES = 10_000
MAX_PROCS = 4096  # on one machine
MAX_LOCAL_NODES = 256


def find(options: RunOptions) -> Discovered:
    """What the request means by its cluster. Raises UsageError."""
    from launcher.request import discovery

    refuse_empty(options)
    most = options.nodes[1] if options.nodes else None
    refuse_absurd(most or 1, options.procs, options.cluster or "")
    try:
        discovered = discovery.discover(
            options.cluster, options.hosts, most, new_job=options.new_job
        )
    except ConfigError as error:
        raise UsageError(str(error)) from error
    refuse_absurd(len(discovered.nodes), options.procs, discovered.kind)
    return discovered


def refuse_empty(options: RunOptions) -> None:
    """An empty value is a variable that is not set, not a wish. Raises UsageError."""
    for name, option in OPTIONS.items():
        value = getattr(options, name)
        if option.kind not in ("text", "texts") or value is None:
            continue
        texts = value if option.kind == "texts" else (value,)
        if not all(str(text).strip() for text in texts):
            raise UsageError(f"{option.word} is empty: give it a value, or leave it out")


def refuse_absurd(num_nodes: int, procs: int | None, kind: str) -> None:
    """Numbers that no cluster has, before anything is made of them. Raises UsageError."""
    most = MAX_LOCAL_NODES if kind == "local" else MAX_NODES
    if num_nodes > most:
        what = "this machine can act as" if kind == "local" else "plaunch leads"
        raise UsageError(f"{num_nodes} nodes: {what} {most} at most")
    ranks = (procs or 1) * (num_nodes if kind == "local" else 1)
    if ranks > MAX_PROCS:
        raise UsageError(f"{ranks} ranks on one machine: {MAX_PROCS} are possible")


def make_id() -> str:
    """An id for a job: eight hexadecimal digits, the first a letter: never a number of SLURM's."""
    drawn = os.urandom(4)
    return "abcdef"[drawn[0] % 6] + drawn.hex()[1:]


def make_job(options: RunOptions, program: Program) -> Job:
    """The job, with an id and a run folder of its own. Raises UsageError."""
    from launcher.rundir.rundir import default_path

    if options.max_restarts < 0:
        raise UsageError("--max-restarts can't be negative")
    if options.gpus is not None:
        check_gpus(options.gpus)
    job_id = make_id()
    own, file = options.run_dir, options.result_file
    values = {
        **{name: getattr(options, name) for name in OPTIONS},
        "run_dir": full_path(own) if own else default_path(program.target, job_id),
        "result_file": full_path(file) if file else None,
    }
    return Job(job_id, program, **values)


def full_path(path: str) -> str:
    """A path of this machine; no shell puts our home for the ``~`` in ``--run-dir=~/runs``."""
    return os.path.abspath(os.path.expanduser(path))


def check_gpus(text: str) -> None:
    """Refuse what is no ``--gpus``, before anything is connected. Raises UsageError."""
    if re.fullmatch("[0-9]{1,6}", text):
        return
    from launcher.core.gpu_spec import GpuRequestError, parse

    try:
        parse(text)
    except GpuRequestError as error:
        raise UsageError(str(error)) from error
