"""Which cluster am I in? What was named > the one that I am inside of > this machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from launcher.clusters.base import CLUSTER_KINDS
from launcher.clusters.local import local_nodes
from launcher.clusters.ssh.options import SshOptions
from launcher.core.errors import ConfigError
from launcher.core.job import Node

if TYPE_CHECKING:
    from launcher.clusters.slurm.allocation import Allocation
    from launcher.request.cluster_file import ClusterFile


_INSIDE = {"slurm": "SLURM_JOB_ID", "ray": "RAY_ADDRESS"}
# Where ``~`` is our own home: on this machine, and where the nodes run us as the user that we are.
_OUR_HOME = ("local", "slurm")
_SLURM_CONF = ("/etc/slurm/slurm.conf", "/etc/slurm-llnl/slurm.conf", "/usr/local/etc/slurm.conf")


@dataclass(frozen=True)
class Machine:
    """What of this machine matters to the decision; ``gather`` looks it up."""

    python: str
    workdir: str
    slurm_login_node: bool = False


@dataclass(frozen=True)
class Discovered:
    """The cluster to run on: all its nodes in the natural order of their names.

    ``options`` are those of SSH, used by that kind alone. ``notes`` are lines for the user.
    SLURM has an ``allocation`` if we are inside one; else, as with Ray, the nodes are not known yet
    and ``each`` is what holds for every one of them.
    """

    kind: str
    nodes: tuple[Node, ...]
    options: SshOptions = field(default_factory=SshOptions)
    notes: tuple[str, ...] = ()
    allocation: Allocation | None = None
    file: ClusterFile | None = None
    each: Node | None = None

    @property
    def is_queue(self) -> bool:
        """Whether the nodes are SLURM's to give: the run has to go through its queue."""
        return self.kind == "slurm" and self.allocation is None


def discover(
    cluster: str | None,
    hosts: str | None,
    num_nodes: int | None,
    environ: Mapping[str, str] | None = None,
    *,
    new_job: bool = False,
) -> Discovered:
    """Find the cluster for ``--cluster``, ``--hosts`` and ``--nodes``. Raises ConfigError.

    ``cluster`` is a kind or a cluster file; ``num_nodes`` matters to this machine only, which
    acts as so many nodes (default: one). ``new_job``: don't use the allocation that we are in.
    """
    environ = os.environ if environ is None else environ
    file = None
    if cluster is not None and cluster not in CLUSTER_KINDS:
        from launcher.request.cluster_file import load

        if not cluster.endswith((".yaml", ".yml")):
            kinds = ", ".join(CLUSTER_KINDS)
            raise ConfigError(f"--cluster {cluster}: it is one of {kinds}, or a .yaml file")
        file = load(os.path.expanduser(cluster))
        cluster = file.cluster
    return decide(cluster, file, hosts, num_nodes, environ, gather(environ), new_job=new_job)


def gather(environ: Mapping[str, str]) -> Machine:
    """Look at this machine; starts nothing and connects to nothing."""
    folders = environ.get("PATH", "").split(os.pathsep)
    sbatch = any(os.access(os.path.join(folder, "sbatch"), os.X_OK) for folder in folders if folder)
    configured = bool(environ.get("SLURM_CONF")) or any(map(os.path.exists, _SLURM_CONF))
    try:
        workdir = os.getcwd()
    except OSError as error:
        raise ConfigError(f"the current folder can't be used: {error.strerror}") from error
    return Machine(sys.executable or "python3", workdir, sbatch and configured)


def decide(
    kind: str | None,
    file: ClusterFile | None,
    hosts: str | None,
    num_nodes: int | None,
    environ: Mapping[str, str],
    machine: Machine,
    *,
    new_job: bool = False,
) -> Discovered:
    """Decide from what is given alone (pure). ``kind`` and ``file`` come from ``--cluster``."""
    notes: list[str] = []
    if kind is None:
        inside = [k for k in _INSIDE if environ.get(_INSIDE[k])]
        kind = "ssh" if hosts is not None else (*inside, "local")[0]
        if kind == "ssh":
            notes = [_elsewhere_note(k) for k in inside]
        elif kind == "local" and machine.slurm_login_node:
            notes = [_login_note()]
    allocation = None
    if kind in _INSIDE and hosts is not None:
        raise ConfigError(f"--hosts are reached by SSH: leave --cluster {kind} out, or --hosts")
    if kind == "slurm" and environ.get(_INSIDE["slurm"]):
        from launcher.clusters.slurm.allocation import read_allocation, refuse_other_tasks

        if new_job:
            refuse_other_tasks(environ)
        allocation = None if new_job else read_allocation(environ)
        nodes_of_kind = [] if allocation is None else _allocated(allocation)
    elif kind in _INSIDE:
        nodes_of_kind = []
    elif kind == "local":
        if hosts is not None:
            raise ConfigError("--hosts are reached by SSH: leave --cluster local out, or --hosts")
        nodes_of_kind = list(local_nodes(num_nodes or 1))
    else:
        nodes_of_kind = _ssh_nodes(file, hosts)
    nodes = tuple(_complete(node, file, environ, machine) for node in nodes_of_kind)
    each = _complete(Node("", ""), file, environ, machine)
    options = file.ssh if file else SshOptions()
    return Discovered(kind, nodes, options, tuple(notes), allocation, file, each)


def _allocated(allocation: Allocation) -> list[Node]:
    from launcher.core.nodelist import natural_key

    names = sorted(allocation.nodes, key=natural_key)
    return [Node(name, name, ranks=allocation.tasks_of(name)) for name in names]


def _ssh_nodes(file: ClusterFile | None, hosts: str | None) -> list[Node]:
    from launcher.core.nodelist import natural_key
    from launcher.request.cluster_file import parse_hosts

    if file is None:
        if hosts is None:
            raise ConfigError("--cluster ssh needs hosts: --hosts h1,h2 or --cluster FILE.yaml")
        nodes = list(parse_hosts(hosts))
    elif hosts is None:
        nodes = list(file.hosts)
    else:
        nodes = [_from_file(file, host) for host in parse_hosts(hosts)]
    return sorted(nodes, key=lambda node: natural_key(node.name))


def _from_file(file: ClusterFile, host: Node) -> Node:
    """With a cluster file, ``--hosts`` picks some of its hosts."""
    for node in file.hosts:
        if node.name == host.name:
            return replace(node, user=host.user or node.user, port=host.port or node.port)
    raise ConfigError(f"--hosts: {host.name!r} is not among the hosts of {file.file}", file.file)


def _complete(
    node: Node, file: ClusterFile | None, environ: Mapping[str, str], machine: Machine
) -> Node:
    """Fill in what holds for every node: interpreter, folder and variables."""
    env = {}
    for name, value in (file.env if file else {}).items():
        if value is None and name not in environ:
            raise ConfigError(
                f"env: {name} has no value there, and it is not set here either",
                file.file if file else "",
            )
        env[name] = environ[name] if value is None else value
    python = (file and file.python) or machine.python
    workdir = (file and file.workdir) or machine.workdir
    if file is None or file.cluster in _OUR_HOME:
        python, workdir = os.path.expanduser(python), os.path.expanduser(workdir)
    return replace(node, python=python, workdir=workdir, env=env)


def _elsewhere_note(kind: str) -> str:
    return (
        f"{_INSIDE[kind]} is set, but --hosts are reached by SSH: the run doesn't use the {kind} "
        "cluster that this is part of"
    )


def _login_note() -> str:
    return (
        "this looks like a SLURM login node, and the run starts right here; to queue it for "
        "compute nodes instead: plaunch --cluster slurm ..."
    )
