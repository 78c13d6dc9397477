"""The kinds of clusters, as the contract's tests see them: two nodes of each, on real parts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.clusters.runs import Run
from tests.testbed import HostProcess, Testbed

KINDS = ("local", "ssh", "slurm", "ray")


@dataclass(frozen=True)
class Backend:
    """A kind of cluster with two nodes: how plaunch is started on it, and what is left of it.

    ``nodes`` is None where the cluster chooses them itself.
    """

    kind: str
    testbed: Testbed
    options: Sequence[str]
    nodes: tuple[str, str] | None
    left: Callable[[], list[HostProcess]]
    before: Sequence[str] = ()
    on: str = "host0"
    python: Mapping[str, Any] = field(default_factory=dict)  # keywords for launch()

    def run(self, *words: str, env: Mapping[str, str] | None = None) -> Run:
        """`plaunch` with two ranks on each of two nodes."""
        return Run(
            self.testbed,
            *self.options,
            *words,
            hosts="",
            procs=2,
            before=self.before,
            on=self.on,
            env=env,
        )


def backend(kind: str, request: pytest.FixtureRequest) -> Backend:
    """The backend of a kind; its fixture checks afterwards that nothing is left behind."""
    two = ("host1", "host2")
    if kind == "ray":
        ray = request.getfixturevalue("ray")
        options = ["--cluster", "ray", "--nodes", "2", "--gpus", "0"]
        python = {"cluster": "ray", "nodes": 2, "gpus": 0}

        def left() -> list[HostProcess]:
            return [process for host in ray.hosts for process in ray.jobs(host)]

        return Backend(kind, ray.testbed, options, None, left, on="host1", python=python)
    if kind == "slurm":
        slurm = request.getfixturevalue("slurm")
        before = ["salloc", "--quiet", "--nodes=2", "--nodelist=host[1-2]", "--cpus-per-task=2"]
        bed: Testbed = slurm.testbed
        options, python = ["--cluster", "slurm"], {"cluster": "slurm"}
    else:
        before = []
        bed = request.getfixturevalue("testbed")
        options, python = ["--hosts", "host[1-2]"], {"hosts": "host[1-2]"}
        if kind == "local":
            options = ["--cluster", "local", "--nodes", "2"]
            python = {"cluster": "local", "nodes": 2}
            two = ("local0", "local1")

    def processes() -> list[HostProcess]:
        found = [process for host in range(5) for process in bed.processes(host)]
        return [process for process in found if process.program != "salloc"]

    return Backend(kind, bed, options, two, processes, before, python=python)
