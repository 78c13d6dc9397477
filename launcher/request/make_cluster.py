"""The cluster of a request, from what was discovered; nothing is connected yet."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from launcher.core.errors import ConfigError, UsageError
from launcher.core.job import Program, RunOptions

if TYPE_CHECKING:
    from launcher.clusters.base import Cluster
    from launcher.core.console.console import Output
    from launcher.request.discovery import Found


def make_cluster(
    options: RunOptions, found: Found, output: Output, *, claim: bool = True
) -> Cluster:
    """The cluster that was found. Raises UsageError if its nodes can't be known here.

    ``claim``: the run's resources are asked for, where a cluster gives them only then; else all its
    nodes can be looked at.
    """
    for note in found.notes:
        output.say(note)
    makers: dict[str, Callable[[], Cluster]] = {
        "local": lambda: _local(found),
        "ssh": lambda: _ssh(found),
        "slurm": lambda: _slurm(found, output),
        "ray": lambda: _ray(options, found, output, claim=claim),
    }
    return makers[found.kind]()


def _local(found: Found) -> Cluster:
    from launcher.clusters.local import LocalCluster

    return LocalCluster(nodes=found.nodes)


def _ssh(found: Found) -> Cluster:
    from launcher.clusters.ssh.cluster import SshCluster

    return SshCluster(found.nodes, found.options)


def _slurm(found: Found, output: Output) -> Cluster:
    if found.allocation is None:
        raise UsageError(
            "which nodes SLURM gives is known inside an allocation only: run this within "
            "salloc or in a batch script"
        )
    from launcher.clusters.slurm.cluster import SlurmCluster

    return SlurmCluster(found.allocation, found.nodes, output.say)


def _ray(options: RunOptions, found: Found, output: Output, *, claim: bool) -> Cluster:
    from launcher.clusters.ray.request import ray_cluster

    assert found.each is not None
    file = found.file
    try:
        return ray_cluster(
            options if claim else None,
            found.each,
            output.say,
            address=file.ray.address if file else None,
            python=file.python if file else None,
        )
    except ConfigError as error:
        raise UsageError(str(error)) from error


def check_script(cluster: Cluster, program: Program) -> None:
    """A script that is not here, when here is where it runs, is a usage error, said at once."""
    if cluster.one_machine and program.kind == "script" and not os.path.exists(program.target):
        raise UsageError(
            f"script not found: {program.target} (in {os.getcwd()}); check the path, or use -m for "
            "a module and --no-python for another program"
        )
