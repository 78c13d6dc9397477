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
    from launcher.request.discovery import Discovered


def make_cluster(
    options: RunOptions, discovered: Discovered, output: Output, *, claim: bool = True
) -> Cluster:
    """The cluster that was discovered. Raises UsageError if its nodes can't be known here.

    ``claim``: the run's resources are asked for, where a cluster gives them only then; else all its
    nodes can be looked at.
    """
    for note in discovered.notes:
        output.say(note)
    makers: dict[str, Callable[[], Cluster]] = {
        "local": lambda: _local(discovered),
        "ssh": lambda: _ssh(discovered),
        "slurm": lambda: _slurm(discovered, output),
        "ray": lambda: _ray(options, discovered, output, claim=claim),
    }
    return makers[discovered.kind]()


def _local(discovered: Discovered) -> Cluster:
    from launcher.clusters.local import LocalCluster

    return LocalCluster(nodes=discovered.nodes)


def _ssh(discovered: Discovered) -> Cluster:
    from launcher.clusters.ssh.cluster import SshCluster

    return SshCluster(discovered.nodes, discovered.options)


def _slurm(discovered: Discovered, output: Output) -> Cluster:
    if discovered.allocation is None:
        raise UsageError(
            "which nodes SLURM gives is known inside an allocation only: run this within "
            "salloc or in a batch script"
        )
    from launcher.clusters.slurm.cluster import SlurmCluster

    return SlurmCluster(discovered.allocation, discovered.nodes, output.say)


def _ray(options: RunOptions, discovered: Discovered, output: Output, *, claim: bool) -> Cluster:
    from launcher.clusters.ray.request import ray_cluster

    assert discovered.each is not None
    file = discovered.file
    try:
        return ray_cluster(
            options if claim else None,
            discovered.each,
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
