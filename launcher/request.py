"""From a user's request to a job and its cluster, for the command line and ``launch()``."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from launcher.job import Job, Program, ProgramKind, StartMethod

if TYPE_CHECKING:
    from launcher.clusters.base import Cluster
    from launcher.output import Output


class UsageError(Exception):
    """The request itself is wrong: what, and what to do. Exit code 2."""


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
    timeout_s: float | None = None
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    preload: tuple[str, ...] = ()
    start: StartMethod = "warm"
    run_dir: str | None = None
    restart: bool = False
    result_file: str | None = None


def make_program(kind: ProgramKind, target: str, args: Sequence[str]) -> Program:
    """The program to run."""
    return Program(kind, target, tuple(args))


def num_procs(text: str | None) -> int | None:
    """``--procs``, or torchrun's words for --nproc-per-node. Raises UsageError."""
    if text is None or text in ("gpu", "auto"):
        return None
    if text == "cpu":
        return len(os.sched_getaffinity(0))
    if not text.isdigit() or int(text) < 1:
        raise UsageError(f"--procs {text}: a number of at least 1 is needed")
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


def make_job(wanted: Wanted, program: Program) -> Job:
    """The job, with an id and a run folder of its own. Raises UsageError."""
    from launcher.rundir import default_path

    if wanted.max_restarts < 0:
        raise UsageError("--max-restarts can't be negative")
    if wanted.gpus is not None:
        check_gpus(wanted.gpus)
    job_id = os.urandom(4).hex()
    name = program.target
    run_dir = os.path.abspath(wanted.run_dir) if wanted.run_dir else default_path(name, job_id)
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
        timeout_s=wanted.timeout_s,
        env=wanted.env,
        preload=wanted.preload,
        start=wanted.start,
        result_file=os.path.abspath(wanted.result_file) if wanted.result_file else None,
        restart=wanted.restart,
    )


def check_gpus(text: str) -> None:
    """Refuse what is no ``--gpus``, before anything is connected. Raises UsageError."""
    if text.isdigit():
        return
    from launcher.gpu_request import GpuRequestError, parse

    try:
        parse(text)
    except GpuRequestError as error:
        raise UsageError(str(error)) from error


def find_cluster(wanted: Wanted, output: Output) -> Cluster:
    """The cluster that the request means. Raises UsageError."""
    from launcher import discovery
    from launcher.config_error import ConfigError

    most = wanted.nodes[1] if wanted.nodes else None
    try:
        found = discovery.discover(wanted.cluster, wanted.hosts, most)
    except ConfigError as error:
        raise UsageError(str(error)) from error
    for note in found.notes:
        output.say(note)
    if found.kind == "ssh":
        from launcher.clusters.ssh import SshCluster

        return SshCluster(found.nodes, found.options)
    if found.kind == "slurm" and found.allocation is not None:
        from launcher.clusters.slurm import SlurmCluster

        return SlurmCluster(found.allocation, found.nodes)
    from launcher.clusters.local import LocalCluster

    return LocalCluster(nodes=found.nodes)


def check_script(cluster: Cluster, program: Program) -> None:
    """A script that is not here, when here is where it runs, is a usage error, said at once."""
    if cluster.name == "local" and program.kind == "script" and not os.path.exists(program.target):
        raise UsageError(
            f"script not found: {program.target} (in {os.getcwd()}); check the path, or use -m for "
            "a module and --no-python for another program"
        )
