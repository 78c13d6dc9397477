"""Which cluster a run is on: explicit > allocation > --hosts > this machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from launcher.clusters.ssh.options import SshOptions
from launcher.core.job import Node
from launcher.request.cluster_file import ClusterFile, ConfigError
from launcher.request.discovery import Machine, decide, discover

FACTS = Machine(python="/env/bin/python", workdir="/project")
LOGIN = Machine(python="/env/bin/python", workdir="/project", slurm_login_node=True)
SSH_FILE = ClusterFile(
    "ssh",
    hosts=(Node("h10", "10.0.0.10", port=22, user="train"), Node("h2", "10.0.0.2")),
    ssh=SshOptions(proxy_jump="bastion"),
    file="c.yaml",
)


ALLOCATED = {
    "SLURM_JOB_ID": "17",
    "SLURM_JOB_NODELIST": "gpu[10,1-2]",
    "SLURM_JOB_CPUS_PER_NODE": "4,8(x2)",
}


def names(nodes: tuple[Node, ...]) -> list[str]:
    return [node.name for node in nodes]


def test_without_anything_it_is_this_machine() -> None:
    """One node with the machine's name, this interpreter and this folder."""
    found = decide(None, None, None, None, {}, FACTS)

    assert found.kind == "local"
    assert names(found.nodes) == [os.uname().nodename]
    assert (found.nodes[0].python, found.nodes[0].workdir) == ("/env/bin/python", "/project")
    assert found.notes == ()


def test_this_machine_can_act_as_several_nodes() -> None:
    """--nodes 3 on the local cluster are three nodes of this machine."""
    found = decide("local", None, None, 3, {}, FACTS)

    assert names(found.nodes) == ["local0", "local1", "local2"]


def test_hosts_are_an_ssh_cluster_in_natural_order() -> None:
    """--hosts needs no --cluster; h2 comes before h10."""
    found = decide(None, None, "me@h10:2222,h2", None, {}, FACTS)

    assert found.kind == "ssh"
    assert found.nodes == (
        Node("h2", "h2", python="/env/bin/python", workdir="/project"),
        Node("h10", "h10", 2222, "me", python="/env/bin/python", workdir="/project"),
    )


def test_the_same_host_twice_is_refused() -> None:
    """Nothing is dropped in silence."""
    with pytest.raises(ConfigError, match="'h1' is there twice"):
        decide(None, None, "h1,h1", None, {}, FACTS)


def test_a_cluster_file_brings_hosts_and_options() -> None:
    """The file's python, workdir and env hold for each of its hosts."""
    file = ClusterFile(
        "ssh",
        hosts=SSH_FILE.hosts,
        ssh=SSH_FILE.ssh,
        python="/opt/python",
        workdir="/shared",
        env={"A": "1", "TOKEN": None},
    )

    found = decide("ssh", file, None, None, {"TOKEN": "s3cret"}, FACTS)

    assert names(found.nodes) == ["h2", "h10"]
    assert found.options == SshOptions(proxy_jump="bastion")
    assert [(n.python, n.workdir, n.env) for n in found.nodes] == [
        ("/opt/python", "/shared", {"A": "1", "TOKEN": "s3cret"})
    ] * 2


def test_a_local_file_changes_the_interpreter_of_this_machine() -> None:
    """python and env of a file of kind local hold for this machine's nodes."""
    file = ClusterFile("local", python="/opt/python", env={"A": "1"})

    found = decide("local", file, None, 2, {}, FACTS)

    assert [(n.name, n.python, n.env) for n in found.nodes] == [
        ("local0", "/opt/python", {"A": "1"}),
        ("local1", "/opt/python", {"A": "1"}),
    ]


def test_a_variable_without_any_value_is_an_error() -> None:
    """A secret that is to come from the caller, but isn't set there, isn't lost in silence."""
    file = ClusterFile("local", env={"TOKEN": None}, file="c.yaml")

    with pytest.raises(ConfigError, match=r"c\.yaml: env: TOKEN has no value there"):
        decide("local", file, None, None, {}, FACTS)


def test_hosts_pick_some_of_a_files_hosts() -> None:
    """With a file, --hosts names some of its hosts; they keep what the file says of them."""
    found = decide("ssh", SSH_FILE, "h10", None, {}, FACTS)

    assert [(n.name, n.address, n.user) for n in found.nodes] == [("h10", "10.0.0.10", "train")]


def test_hosts_that_the_file_lacks_are_an_error() -> None:
    """A name that the file doesn't know isn't guessed."""
    with pytest.raises(ConfigError, match=r"'h3' is not among the hosts of c\.yaml"):
        decide("ssh", SSH_FILE, "h[2-3]", None, {}, FACTS)


@pytest.mark.parametrize(
    ("kind", "hosts", "problem"),
    [
        ("ssh", None, "--cluster ssh needs hosts"),
        ("local", "h1", "--hosts are reached by SSH"),
        ("slurm", None, "SLURM_JOB_NODELIST is not set"),
        ("slurm", "h1", "--hosts are reached by SSH"),
        ("ray", "h1", "--hosts are reached by SSH"),
    ],
)
def test_what_cannot_be_is_said(kind: str, hosts: str | None, problem: str) -> None:
    """Contradictions and kinds that this version lacks are errors, whatever else is known."""
    with pytest.raises(ConfigError, match=problem):
        decide(kind, None, hosts, None, {"SLURM_JOB_ID": "1"}, LOGIN)


def test_inside_an_allocation_its_nodes_are_the_cluster() -> None:
    """Without a word about the cluster, a run uses the allocation that it was started in."""
    file = ClusterFile("slurm", python="/opt/python", workdir="/shared")
    for kind, given in ((None, None), ("slurm", None), ("slurm", file)):
        found = decide(kind, given, None, None, ALLOCATED, LOGIN)

        assert found.kind == "slurm"
        assert found.notes == ()
        assert names(found.nodes) == ["gpu1", "gpu2", "gpu10"]
        assert found.allocation is not None
        assert [found.allocation.cpus_of(name) for name in names(found.nodes)] == [8, 8, 4]
        assert {node.python for node in found.nodes} == {"/opt/python" if given else FACTS.python}


def test_outside_an_allocation_the_nodes_are_not_known_yet() -> None:
    """On a login node, or with Ray, there is only what holds for every node."""
    found = decide("slurm", ClusterFile("slurm", python="p", env={"A": "1"}), None, 4, {}, LOGIN)
    ray = decide(None, None, None, None, {"RAY_ADDRESS": "10.0.0.1:6379"}, FACTS)

    assert (found.kind, found.nodes, found.allocation) == ("slurm", (), None)
    assert found.each is not None
    assert (found.each.python, found.each.env) == ("p", {"A": "1"})
    assert (ray.kind, ray.nodes) == ("ray", ())


def test_a_ray_cluster_inside_an_allocation_is_named_or_not_used() -> None:
    """Who starts Ray in a SLURM job says --cluster ray; without it the allocation counts."""
    both = {**ALLOCATED, "RAY_ADDRESS": "auto"}

    assert decide(None, None, None, None, both, FACTS).kind == "slurm"
    assert decide("ray", None, None, None, both, FACTS).kind == "ray"


@pytest.mark.parametrize("environ", [{"SLURM_JOB_ID": "17"}, {"RAY_ADDRESS": "auto"}])
def test_hosts_win_over_the_allocation_with_one_line_about_it(environ: dict[str, str]) -> None:
    """--hosts are what the user named; that the allocation is not used is said."""
    found = decide(None, None, "h1", None, environ, FACTS)

    assert found.kind == "ssh"
    (note,) = found.notes
    assert note.startswith(f"{next(iter(environ))} is set, but --hosts are reached by SSH")


def test_an_explicit_cluster_needs_no_word_about_the_allocation() -> None:
    """Who says --cluster local means it."""
    found = decide("local", None, None, None, {"SLURM_JOB_ID": "17"}, LOGIN)

    assert found.notes == ()


def test_on_a_slurm_login_node_one_line_says_how_to_use_slurm() -> None:
    """A run that starts on a login node says so; one on SSH hosts has no reason to."""
    here = decide(None, None, None, None, {}, LOGIN)
    on_hosts = decide(None, None, "h1", None, {}, LOGIN)

    assert len(here.notes) == 1
    assert "SLURM login node" in here.notes[0]
    assert on_hosts.notes == ()


def test_discover_reads_the_file_and_looks_at_this_machine(tmp_path: Path) -> None:
    """The door: --cluster FILE.yaml, this interpreter, this folder."""
    path = tmp_path / "c.yaml"
    path.write_text("cluster: ssh\nhosts: [h1]\n")

    found = discover(str(path), None, None, {})

    assert found.nodes == (Node("h1", "h1", python=sys.executable, workdir=os.getcwd()),)


def test_a_word_that_is_no_cluster_is_refused() -> None:
    """Neither a kind nor a YAML file."""
    with pytest.raises(ConfigError, match=r"--cluster slrum: it is one of local, ssh, slurm, ray"):
        discover("slrum", None, None, {})


@pytest.mark.parametrize("configured", [True, False])
def test_a_login_node_has_sbatch_and_a_configuration(tmp_path: Path, configured: bool) -> None:
    """sbatch alone (say, a wrapper that someone wrote) doesn't make a login node."""
    sbatch = tmp_path / "sbatch"
    sbatch.write_text("#!/bin/sh\n")
    sbatch.chmod(0o755)
    environ = {"PATH": f"/nowhere:{tmp_path}", "SLURM_CONF": "/x/slurm.conf" if configured else ""}

    assert len(discover(None, None, None, environ).notes) == configured


def test_a_folder_that_is_gone_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Starting in a deleted folder is an error that says so, not a traceback."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()

    with pytest.raises(ConfigError, match="the current folder can't be used"):
        discover(None, None, None, {})
