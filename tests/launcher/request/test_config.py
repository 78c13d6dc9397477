"""Cluster files and --hosts: what they mean, and what people are told when they don't."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.clusters.ssh.options import SshOptions
from launcher.core.job import Node
from launcher.request.cluster_file import (
    ClusterFile,
    ConfigError,
    RayOptions,
    SlurmOptions,
    load,
    parse_hosts,
)

EXAMPLES = Path(__file__).parents[3] / "cluster_configs"
Write = Callable[[str], str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a cluster file and return its path."""

    def write_file(text: str) -> str:
        path = tmp_path / "c.yaml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write_file


def test_a_whole_file_becomes_data(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every key that the design shows arrives where it belongs."""
    monkeypatch.setenv("HOME", "/home/me")
    file = write(
        """
cluster: ssh
hosts:
  - {name: host1, address: 10.0.0.1, port: 22, user: train, gpus: [0, GPU-5f]}
  - host[2-3]
ssh: {identity_file: ~/.ssh/id, known_hosts: hosts, proxy_jump: bastion, connect_timeout: 2.5}
python: /opt/env/bin/python
workdir: /shared/project
env: {NCCL_DEBUG: WARN, COUNT: 007, EMPTY: "", TOKEN: , DAY: 2020-01-01}
ray: {address: "ray://h:1"}
slurm: {partition: gpu, account: 12, time: 12:00:00, signal_lead: 120, sbatch: ["--exclusive"]}
"""
    )

    assert load(file) == ClusterFile(
        cluster="ssh",
        hosts=(
            Node("host1", "10.0.0.1", port=22, user="train", gpus=("0", "GPU-5f")),
            Node("host2", "host2"),
            Node("host3", "host3"),
        ),
        ssh=SshOptions("/home/me/.ssh/id", f"{os.path.dirname(file)}/hosts", "bastion", 2.5, 2.5),
        python="/opt/env/bin/python",
        workdir="/shared/project",
        env={"NCCL_DEBUG": "WARN", "COUNT": "007", "EMPTY": "", "TOKEN": None, "DAY": "2020-01-01"},
        ray=RayOptions("ray://h:1"),
        slurm=SlurmOptions("gpu", "12", "12:00:00", 120, ("--exclusive",)),
        file=file,
    )


def test_the_shortest_file_is_a_kind(write: Write) -> None:
    """All other keys have defaults."""
    file = write("cluster: local")

    assert load(file) == ClusterFile("local", file=file)


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        (
            "cluster: ssh\nhost: [a]",
            2,
            "unknown key 'host', did you mean 'hosts'? Known keys: cluster, hosts, ssh, python, "
            "workdir, env, ray, slurm",
        ),
        (
            "cluster: ssh\nhosts: [a]\nssh:\n  identity: x",
            4,
            "unknown key 'identity' in ssh, did you mean 'identity_file'? Known keys: "
            "identity_file, known_hosts, proxy_jump, connect_timeout",
        ),
        (
            "cluster: ssh\nhosts:\n- {name: a, zzz: 1}",
            3,
            "unknown key 'zzz' in hosts[0]. Known keys: name, address, port, user, gpus",
        ),
        ("python: x", 1, "the key 'cluster' is missing: one of local, ssh, slurm, ray"),
        ("", 1, "the key 'cluster' is missing: one of local, ssh, slurm, ray"),
        (
            "cluster: kubernetes",
            1,
            "cluster: 'kubernetes' is no kind of cluster: one of local, ssh, slurm, ray",
        ),
        (
            "cluster: ssh",
            1,
            "cluster: an ssh cluster needs 'hosts', a list such as [host1, host2]",
        ),
        (
            "cluster: local\nhosts: [a]",
            2,
            "hosts: only an ssh cluster has hosts, and this one is local",
        ),
        ("cluster: ssh\nhosts: a", 2, "hosts: a list is expected, not 'a'"),
        ("- a", 1, "a mapping (key: value) is expected, not a list"),
        ("cluster: local\npython: [x]", 2, "python: text is expected, not a list"),
        ("cluster: local\npython:", 2, "python: text is expected, not nothing"),
        (
            "cluster: local\npython: yes",
            2,
            'python: text is expected: write "yes" in quotes',
        ),
        ("cluster: local\nenv: [A]", 2, "env: a mapping (key: value) is expected, not a list"),
        ("cluster: local\nenv: {A: {B: 1}}", 2, "env.A: text is expected, not a mapping"),
        (
            "cluster: local\nenv:\n  A: true",
            3,
            "env.A: text is expected: write it in quotes",
        ),
        ("cluster: local\nenv: {A-B: x}", 2, "env: not a variable's name: 'A-B'"),
        (
            "cluster: ssh\nhosts: [a]\nssh: {connect_timeout: soon}",
            3,
            "ssh.connect_timeout: a number is expected, not 'soon'",
        ),
        (
            "cluster: ssh\nhosts: [a]\nssh: {connect_timeout: 0}",
            3,
            "ssh.connect_timeout: a number above zero is expected, not 0",
        ),
        (
            "cluster: ssh\nhosts: [{name: a, port: 70000}]",
            2,
            "hosts[0].port: a whole number from 1 to 65535 is expected, not '70000'",
        ),
        ("cluster: ssh\nhosts: [{address: a}]", 2, "hosts[0]: a host needs a 'name'"),
        ("cluster: ssh\nhosts: [{name: ../a}]", 2, "hosts[0].name: not a host's name: '../a'"),
        (
            "cluster: ssh\nhosts: [{name: a, gpus: 2}]",
            2,
            "hosts[0].gpus: a list is expected, not '2'",
        ),
        (
            "cluster: ssh\nhosts:\n- h[1-3]\n- h2",
            4,
            "hosts[1]: host 'h2' is there twice: write each machine once, and give ranks by "
            "--procs",
        ),
        (
            "cluster: ssh\nhosts:\n- 'h[1-'",
            3,
            "hosts[0]: a '[' without its ']' at character 2 of 'h[1-'",
        ),
        ("cluster: local\ncluster: ssh", 2, "'cluster' is there twice"),
        (
            "cluster: local\nenv: {A: 'x",
            2,
            "not valid YAML: found unexpected end of stream",
        ),
        (
            "cluster: !!python/object/apply:os.system ['x']",
            1,
            "cluster: text is expected, not a list",
        ),
        (
            "cluster: !!python/name:os.system ''",
            1,
            "not valid YAML: could not determine a constructor for the tag; write a value with "
            "one of * & ! % @ ` in it in quotes",
        ),
    ],
)
def test_a_mistake_is_one_line_with_file_line_and_key(
    write: Write, text: str, line: int, problem: str
) -> None:
    """Unknown keys, wrong types and missing things say where they are and what would be right."""
    file = write(text)

    with pytest.raises(ConfigError) as raised:
        load(file)

    assert str(raised.value) == f"{file}:{line}: {problem}"


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """A missing file is a ConfigError as well."""
    with pytest.raises(ConfigError, match=r"c\.yaml: can't be read: No such file"):
        load(str(tmp_path / "c.yaml"))


def test_values_of_variables_are_not_shown(write: Write) -> None:
    """What stands in env may be secret: neither errors nor repr repeat it."""
    file = write("cluster: local\nenv: {TOKEN: s3cret}")

    assert "s3cret" not in repr(load(file))


@pytest.mark.parametrize(
    "env",
    [
        "TOKEN=s3cret",
        "[TOKEN=s3cret]",
        "{TOKEN: *s3cret}",
        "{TOKEN: !s3cret x}",
        "{TOKEN: &s3cret x, T: !s3cret {}}",
        "{TOKEN: {s3cret: 1}}",
        "{TOKEN: 's3cret}",
        "{TOKEN: %s3cret}",
        "{'TOKEN=s3cret': }",
        "{'TOKEN=s3cret': 1, 'TOKEN=s3cret': 2}",
        "{TOKEN: 2020-13-45s3cret, X: 2020-13-45}",
        "{TOKEN: s3cret: s3cret}",
        "\n  TOKEN: s3cret\n s3cret",
        '{TOKEN: "s3cret\\z"}',
        "{? [s3cret] : 1}",
    ],
)
def test_no_mistake_repeats_a_variables_value(write: Write, env: str) -> None:
    """Whatever is wrong with env, its values are in no message, and in no traceback's causes."""
    with pytest.raises(ConfigError) as raised:
        load(write(f"cluster: local\nenv: {env}"))
    assert "s3cret" not in "".join(traceback.format_exception(raised.value))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "\n".join(
                ["x: &a0 [1]", *(f"x{n}: &a{n} [{f'*a{n - 1},' * 9}]" for n in range(1, 12))]
            ),
            "more than 100,000 values, by its aliases",
        ),
        ("cluster: &a [*a]", "nested"),
        ("cluster: " + "[" * 5000, "nested too deep"),
        ("cluster: " + "[" * 60 + "]" * 60, "nested more than 50 deep"),
        ("#" * (5 << 20), "is larger than 4 MiB"),
        (f"cluster: {'9' * 5000}", "it can't be read"),
    ],
    ids=["bomb", "circle", "depth", "some-depth", "size", "number"],
)
def test_a_file_that_never_ends_is_refused(write: Write, text: str, said: str) -> None:
    """Aliases that stand for billions of values, depth and size: a line that says so, at once."""
    with pytest.raises(ConfigError, match=said):
        load(write(text))


def test_only_the_safe_loader_constructs_values(write: Write, tmp_path: Path) -> None:
    """A file that asks YAML to run code is refused, and the code doesn't run."""
    with pytest.raises(ConfigError):
        load(write(f"cluster: local\nenv: {{A: !!python/object/new:os.mkdir [{tmp_path}/ran]}}"))

    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("text", "nodes"),
    [
        ("h1", [Node("h1", "h1")]),
        ("h1,h[2-3]", [Node("h1", "h1"), Node("h2", "h2"), Node("h3", "h3")]),
        ("me@h5:2222", [Node("h5", "h5", port=2222, user="me")]),
        (
            "me@n[1,3]:22, b",
            [
                Node("n1", "n1", port=22, user="me"),
                Node("n3", "n3", port=22, user="me"),
                Node("b", "b"),
            ],
        ),
        ("me@corp@h", [Node("h", "h", user="me@corp")]),
        ("10.0.0.[1-2]", [Node("10.0.0.1", "10.0.0.1"), Node("10.0.0.2", "10.0.0.2")]),
        ("[::1]:22", [Node("::1", "::1", port=22)]),
        ("me@[fd00::1]", [Node("fd00::1", "fd00::1", user="me")]),
        ("fe80::1%eth0,h", [Node("fe80::1%eth0", "fe80::1%eth0"), Node("h", "h")]),
    ],
)
def test_hosts_are_read_in_their_short_form(text: str, nodes: list[Node]) -> None:
    """Users, ports, ranges and IPv6 addresses, in the order written."""
    assert parse_hosts(text) == tuple(nodes)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "a host is missing at character 1 of ''"),
        ("a,,b", "a host is missing at character 3 of 'a,,b'"),
        ("a,", "a host is missing at character 3 of 'a,'"),
        ("h:ssh", "not a port: 'ssh' in 'h:ssh', it is a number from 1 to 65535"),
        ("h:0", "not a port: '0' in 'h:0', it is a number from 1 to 65535"),
        ("h:65536", "not a port: '65536' in 'h:65536', it is a number from 1 to 65535"),
        ("h:", "not a port: '' in 'h:', it is a number from 1 to 65535"),
        ("a b@h", "not a user's name: 'a b' in 'a b@h'"),
        ("-oProxyCommand=x", "not a host: '-oProxyCommand=x', write it as [user@]host[:port]"),
        ("h;x", "not a host: 'h;x', write it as [user@]host[:port]"),
        ("@h", "not a host: '@h', write it as [user@]host[:port]"),
        ("me@", "not a host: 'me@', write it as [user@]host[:port]"),
        ("[::g]", "not a host: '[::g]', write it as [user@]host[:port]"),
        ("x:y:z", "not a port: 'z' in 'x:y:z', it is a number from 1 to 65535"),
        ("a:b:c", "not a host: 'a:b:c', write it as [user@]host[:port]"),
        ("h[1-", "a '[' without its ']' at character 2 of 'h[1-'"),
        (
            "h1,h[1-2]",
            "host 'h1' is there twice: write each machine once, and give ranks by --procs",
        ),
        ("h[1-60000],i[1-60000]", "more than 100,000 hosts in 'h[1-60000],i[1-60000]'"),
    ],
)
def test_hosts_that_cannot_be_read_are_one_clear_line(text: str, problem: str) -> None:
    """Every mistake in --hosts is told with the part that is wrong."""
    with pytest.raises(ConfigError) as raised:
        parse_hosts(text)

    assert str(raised.value) == problem


@given(st.text(alphabet="ah1:@[]-,. %", max_size=16))
def test_any_text_is_hosts_or_a_config_error(text: str) -> None:
    """Nothing that people type ends in another kind of error, or in a name twice."""
    try:
        nodes = parse_hosts(text)
    except ConfigError:
        return
    names = [node.name for node in nodes]
    assert names
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_every_example_file_is_valid(example: Path) -> None:
    """The files that people copy from are loaded, and each says its kind in its name."""
    assert load(str(example)).cluster == example.stem


def test_there_are_examples() -> None:
    """The test above has something to load."""
    assert {"local.yaml", "ssh.yaml", "slurm.yaml"} <= {
        path.name for path in EXAMPLES.glob("*.yaml")
    }
