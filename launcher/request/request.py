"""From a user's request to a job and its cluster, for the command line and ``launch()``."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from launcher.core.errors import ConfigError, UsageError
from launcher.core.job import Job, Program, ProgramKind, StartMethod

if TYPE_CHECKING:
    from launcher.clusters.base import Cluster
    from launcher.core.console.console import Output
    from launcher.request.discovery import Found


@dataclass(frozen=True)
class Wanted:
    """A request, as options or keyword arguments say it."""

    cluster: str | None = None
    hosts: str | None = None
    nodes: tuple[int, int] | None = None
    gpus: str | None = None
    procs: int | None = None
    max_restarts: int = 0
    grace_s: float = 30.0
    failure_grace_s: float = 5.0
    timeout_s: float | None = None
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    preload: tuple[str, ...] = ()
    start: StartMethod = "warm"
    run_dir: str | None = None
    restart: bool = False
    result_file: str | None = None
    # of a job that is submitted to SLURM
    time: str | None = None
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    requeue: bool = False
    signal_lead_s: int | None = None
    array: str | None = None
    sbatch: tuple[str, ...] = ()
    detach: bool = False
    new_job: bool = False  # from inside an allocation, too
    # on Ray: how long to wait for resources; and only to look at the nodes, without claiming them
    wait_s: float | None = None
    visit: bool = False


# Of the fields above those that only a submitted job can have, and how they are written.
SUBMIT_OPTIONS = {
    "time": "--time",
    "partition": "--partition",
    "account": "--account",
    "qos": "--qos",
    "requeue": "--requeue",
    "signal_lead_s": "--signal-lead",
    "array": "--array",
    "sbatch": "--sbatch",
    "detach": "--detach",
    "new_job": "--new-job",
}


# The other options that take a text, for words about them.
TEXT_OPTIONS = {
    "cluster": "--cluster",
    "hosts": "--hosts",
    "gpus": "--gpus",
    "run_dir": "--run-dir",
    "result_file": "--result",
    "preload": "--preload",
    **{
        name: option for name, option in SUBMIT_OPTIONS.items() if name not in ("requeue", "detach")
    },
}
# More than this is a slip of the finger, which must not cost gigabytes.
MAX_NODES = 10_000
MAX_PROCS = 4096  # on one machine
MAX_LOCAL_NODES = 256

# What the engine can stand in for; the engine has the same list.
COMPAT = ("lightning", "pytorch_lightning")


def make_program(
    kind: ProgramKind, target: str, args: Sequence[str], compat: str | None = None
) -> Program:
    """The program to run. Raises UsageError."""
    if compat is not None and compat not in COMPAT:
        raise UsageError(f"--compat {compat!r}: the engine stands in for {' and '.join(COMPAT)}")
    if compat is not None and kind == "program":
        raise UsageError("--compat is for Python programs: leave out --no-python")
    return Program(kind, target, tuple(args), compat=compat)


def read_function(file: str, name: str, compat: str | None = None) -> Program:
    """A function that ``launch()`` has pickled into a file of ours; it is not opened here.

    Raises UsageError for a file that somebody else could have written.
    """
    try:
        with open(os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as stream:
            found = os.fstat(stream.fileno())
            if found.st_uid != os.geteuid() or found.st_mode & 0o077:
                raise UsageError(f"{file}: a function is read from a file of our own of mode 0600")
            return Program("function", name, (), stream.read(), compat)
    except OSError as error:
        raise UsageError(f"--function {file!r}: {error.strerror}") from error


def is_requeued(environ: Mapping[str, str]) -> bool:
    """Whether SLURM has started this job again: it must not begin anew then."""
    return environ.get("SLURM_RESTART_COUNT", "0") not in ("", "0")


def num_procs(text: str | None) -> int | None:
    """``--procs``, or torchrun's words for --nproc-per-node. Raises UsageError."""
    if text is None or text in ("gpu", "auto"):
        return None
    if text == "cpu":
        return len(os.sched_getaffinity(0))
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MAX_PROCS):
        raise UsageError(f"--procs {text or repr(text)}: a number from 1 to {MAX_PROCS} is needed")
    return int(text)


def parse_env(entries: Sequence[str], ours: Mapping[str, str]) -> dict[str, str]:
    """``NAME=VALUE`` and ``NAME`` (takes our value). Raises UsageError."""
    found = {}
    for entry in entries:
        name, equals, value = entry.partition("=")
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise UsageError(f"--env {name!r} is no name of a variable; write --env NAME=VALUE")
        if not equals and name not in ours:
            raise UsageError(
                f"--env {name}: it is not set here; set it or write --env {name}=VALUE"
            )
        found[name] = value if equals else ours[name]
    return found


def make_id() -> str:
    """An id for a job: eight hexadecimal digits, the first a letter: never a number of SLURM's."""
    drawn = os.urandom(4)
    return "abcdef"[drawn[0] % 6] + drawn.hex()[1:]


def make_job(wanted: Wanted, program: Program) -> Job:
    """The job, with an id and a run folder of its own. Raises UsageError."""
    from launcher.rundir.rundir import default_path

    if wanted.max_restarts < 0:
        raise UsageError("--max-restarts can't be negative")
    if wanted.gpus is not None:
        check_gpus(wanted.gpus)
    job_id = make_id()
    name = program.target
    run_dir = full_path(wanted.run_dir) if wanted.run_dir else default_path(name, job_id)
    least, most = wanted.nodes or (None, None)
    return Job(
        id=job_id,
        program=program,
        run_dir=run_dir,
        min_nodes=least,
        max_nodes=most,
        gpus=wanted.gpus,
        procs=wanted.procs,
        max_restarts=wanted.max_restarts,
        grace_s=wanted.grace_s,
        failure_grace_s=wanted.failure_grace_s,
        timeout_s=wanted.timeout_s,
        env=wanted.env,
        preload=wanted.preload,
        start=wanted.start,
        result_file=full_path(wanted.result_file) if wanted.result_file else None,
        restart=wanted.restart,
    )


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


def find(wanted: Wanted) -> Found:
    """What the request means by its cluster. Raises UsageError."""
    from launcher.request import discovery

    refuse_empty(wanted)
    most = wanted.nodes[1] if wanted.nodes else None
    refuse_absurd(most or 1, wanted.procs, wanted.cluster or "")
    try:
        found = discovery.discover(wanted.cluster, wanted.hosts, most, new_job=wanted.new_job)
    except ConfigError as error:
        raise UsageError(str(error)) from error
    refuse_absurd(len(found.nodes), wanted.procs, found.kind)
    return found


def refuse_empty(wanted: Wanted) -> None:
    """An empty value is a variable that is not set, not a wish. Raises UsageError."""
    for name, option in TEXT_OPTIONS.items():
        value = getattr(wanted, name)
        values = (value,) if isinstance(value, str) else value
        if isinstance(values, (tuple, list)) and not all(str(one).strip() for one in values):
            raise UsageError(f"{option} is empty: give it a value, or leave it out")


def refuse_absurd(num_nodes: int, procs: int | None, kind: str) -> None:
    """Numbers that no cluster has, before anything is made of them. Raises UsageError."""
    most = MAX_LOCAL_NODES if kind == "local" else MAX_NODES
    if num_nodes > most:
        what = "this machine can act as" if kind == "local" else "plaunch leads"
        raise UsageError(f"{num_nodes} nodes: {what} {most} at most")
    ranks = (procs or 1) * (num_nodes if kind == "local" else 1)
    if ranks > MAX_PROCS:
        raise UsageError(f"{ranks} ranks on one machine: {MAX_PROCS} are possible")


def is_submitted(wanted: Wanted, found: Found) -> bool:
    """Whether the run goes into SLURM's queue. Raises UsageError for options of other clusters."""
    if wanted.wait_s is not None and found.kind != "ray":
        raise UsageError(
            f"--wait: for the resources of a Ray cluster, and this run is on {found.kind}: add "
            "--cluster ray, or leave it out"
        )
    if found.kind == "slurm" and found.allocation is None:
        return True
    given = [option for name, option in SUBMIT_OPTIONS.items() if getattr(wanted, name)]
    if given:
        why = f"and this run is on {found.kind}: add --cluster slurm, or leave it out"
        if found.allocation is not None:
            why = (
                "and this run is inside an allocation already: leave it out, or submit a job of "
                "its own from here by --new-job"
            )
        raise UsageError(f"{', '.join(given)}: for a job that plaunch submits to SLURM, {why}")
    return False


def find_cluster(wanted: Wanted, output: Output) -> Cluster:
    """The cluster that the request means. Raises UsageError."""
    return make_cluster(wanted, find(wanted), output)


def make_cluster(wanted: Wanted, found: Found, output: Output) -> Cluster:
    """The cluster that was found. Raises UsageError if its nodes can't be known here."""
    for note in found.notes:
        output.say(note)
    if found.kind == "ssh":
        from launcher.clusters.ssh.cluster import SshCluster

        return SshCluster(found.nodes, found.options)
    if found.kind == "slurm":
        if found.allocation is None:
            raise UsageError(
                "which nodes SLURM gives is known inside an allocation only: run this within "
                "salloc or in a batch script"
            )
        from launcher.clusters.slurm.cluster import SlurmCluster

        return SlurmCluster(found.allocation, found.nodes, output.say)
    if found.kind == "ray":
        from launcher.clusters.ray.request import ray_cluster

        try:
            return ray_cluster(wanted, found, output.say)
        except ConfigError as error:
            raise UsageError(str(error)) from error
    from launcher.clusters.local import LocalCluster

    return LocalCluster(nodes=found.nodes)


def check_script(cluster: Cluster, program: Program) -> None:
    """A script that is not here, when here is where it runs, is a usage error, said at once."""
    if cluster.name == "local" and program.kind == "script" and not os.path.exists(program.target):
        raise UsageError(
            f"script not found: {program.target} (in {os.getcwd()}); check the path, or use -m for "
            "a module and --no-python for another program"
        )
