"""A kind of cluster of one's own: its attributes say what differs, and nothing asks for a name."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import launcher
from launcher.clusters.base import Cluster
from launcher.clusters.local import LocalCluster
from launcher.controller.agents.link import Inbox
from launcher.controller.run import lead
from launcher.core.console.console import Output
from launcher.core.errors import UsageError
from launcher.core.job import Program, RunOptions
from launcher.request.make_cluster import check_script
from launcher.request.request import make_job
from launcher.rundir import index

PACKAGE = Path(launcher.__file__).parent


class OwnCluster(LocalCluster):
    """As this machine, but under a name that nobody knows."""

    name = "of-my-own"


def test_a_cluster_that_nobody_knows_leads_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its attributes count: on this machine, both nodes share GPUs and files; its name is noted."""
    monkeypatch.chdir(tmp_path)
    cluster: Cluster = OwnCluster(num_nodes=2)
    options = RunOptions(gpus="0", run_dir="run")
    job = make_job(options, Program("program", "sh", ("-c", "echo rank $RANK")))

    result = lead(job, cluster, Inbox(), Output(quiet=True))

    assert (result.state, result.world_size) == ("succeeded", 2)
    entry = index.entry_of(job.run_dir)
    assert entry is not None
    assert (entry.cluster, entry.pid) == ("of-my-own", os.getpid())
    with pytest.raises(UsageError, match="script not found"):
        check_script(cluster, Program("script", "gone.py"))


def comparisons(tree: ast.AST) -> Iterator[str]:
    """Where a cluster's name is compared, or its class asked for."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            for side in (node.left, *node.comparators):
                if isinstance(side, ast.Attribute) and side.attr == "name":
                    owner = ast.unparse(side.value).lower()
                    if owner.endswith("cluster"):
                        yield ast.unparse(node)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "isinstance":
            kinds = re.findall(r"\w+", ast.unparse(node.args[1]))
            if any(kind.endswith("Cluster") for kind in kinds):
                yield ast.unparse(node)


def test_nothing_asks_for_a_clusters_name() -> None:
    """Nor for its class: a new kind needs no line elsewhere."""
    asked = {
        str(path.relative_to(PACKAGE)): list(comparisons(ast.parse(path.read_text())))
        for path in PACKAGE.rglob("*.py")
    }

    assert {path: places for path, places in asked.items() if places} == {}
    assert list(comparisons(ast.parse("if self._cluster.name == 'local': pass")))
    assert list(comparisons(ast.parse("isinstance(cluster, RayCluster)")))
