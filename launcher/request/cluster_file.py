"""The cluster file and ``--hosts``: text to data. A mistake is one line that says where it is."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from launcher.clusters.base import CLUSTER_KINDS
from launcher.clusters.ssh.options import SshOptions
from launcher.core.errors import ConfigError
from launcher.core.job import Node
from launcher.core.nodelist import MAX_NAMES, NodeListError, expand
from launcher.request.yaml_tree import Value, read

__all__ = [
    "CLUSTER_KINDS",
    "ClusterFile",
    "ConfigError",
    "RayOptions",
    "SlurmOptions",
    "load",
    "parse_hosts",
]

_KEYS = ("cluster", "hosts", "ssh", "python", "workdir", "env", "ray", "slurm")
_HOST_KEYS = ("name", "address", "port", "user", "gpus")
_SSH_KEYS = ("identity_file", "known_hosts", "proxy_jump", "connect_timeout")
_SLURM_KEYS = ("partition", "account", "time", "signal_lead", "sbatch")
_HOST = re.compile(
    r"(?:(?P<user>.+)@)?(?:\[(?P<ipv6>[^\]]*:[^\]]*)\]|(?P<host>.*?))(?::(?P<port>[^:\]]*))?"
)
_BARE_IPV6 = re.compile(r"(?:(?P<user>.+)@)?(?P<ipv6>[0-9A-Fa-f.]*(?::[0-9A-Fa-f.]*){2,}(?:%\w+)?)")
_SEPARATOR = re.compile(r",(?![^\[]*\])")
_NAME = re.compile(r"\w[\w.-]*")
_DUPLICATE = "host {!r} is there twice: write each machine once, and give ranks by --procs"
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class RayOptions:
    """Which Ray cluster: an address as ``ray.init`` takes it."""

    address: str = "auto"


@dataclass(frozen=True)
class SlurmOptions:
    """What sbatch is asked for; ``sbatch`` holds further options of its command line."""

    partition: str | None = None
    account: str | None = None
    time: str | None = None
    signal_lead_s: int | None = None
    sbatch: tuple[str, ...] = ()


@dataclass(frozen=True)
class ClusterFile:
    """A cluster file, checked.

    ``hosts`` know nothing yet of ``python``, ``workdir`` and ``env``, which hold for all nodes; in
    ``env`` a value of None means the caller's.
    """

    cluster: str
    hosts: tuple[Node, ...] = ()
    ssh: SshOptions = field(default_factory=SshOptions)
    python: str | None = None
    workdir: str | None = None
    env: Mapping[str, str | None] = field(default_factory=dict, repr=False)
    ray: RayOptions = field(default_factory=RayOptions)
    slurm: SlurmOptions = field(default_factory=SlurmOptions)
    file: str = ""


def load(file: str) -> ClusterFile:
    """Read and check a cluster file. Raises ConfigError with file, line and what to do."""
    tree = read(file, secret=("env",))
    top = tree.section(_KEYS)
    if "cluster" not in top:
        raise tree.error(f"the key 'cluster' is missing: one of {', '.join(CLUSTER_KINDS)}")
    kind = top["cluster"].text()
    if kind not in CLUSTER_KINDS:
        raise top["cluster"].error(
            f"{kind!r} is no kind of cluster: one of {', '.join(CLUSTER_KINDS)}"
        )
    if kind == "ssh" and not ("hosts" in top and top["hosts"].items()):
        raise top["cluster"].error("an ssh cluster needs 'hosts', a list such as [host1, host2]")
    if kind != "ssh" and "hosts" in top:
        raise top["hosts"].error(f"only an ssh cluster has hosts, and this one is {kind}")
    return ClusterFile(
        cluster=kind,
        hosts=_hosts(top["hosts"]) if "hosts" in top else (),
        ssh=_ssh(top["ssh"], os.path.dirname(file)) if "ssh" in top else SshOptions(),
        python=_text(top, "python"),
        workdir=_text(top, "workdir"),
        env=_env(top["env"]) if "env" in top else {},
        ray=_ray(top["ray"]) if "ray" in top else RayOptions(),
        slurm=_slurm(top["slurm"]) if "slurm" in top else SlurmOptions(),
        file=file,
    )


def parse_hosts(text: str) -> tuple[Node, ...]:
    """Read ``h1,h[2-4],user@h5:2222,[::1]:22`` as nodes, in its order. Raises ConfigError."""
    nodes: list[Node] = []
    position = 0
    for entry in _SEPARATOR.split(text):
        if not entry.strip():
            raise ConfigError(f"a host is missing at character {position + 1} of {text!r}")
        nodes += _short_host(entry.strip())
        if len(nodes) > MAX_NAMES:
            raise ConfigError(f"more than {MAX_NAMES:,} hosts in {text!r}")
        position += len(entry) + 1
    _refuse_duplicates((node, ConfigError(_DUPLICATE.format(node.name))) for node in nodes)
    return tuple(nodes)


def _short_host(entry: str) -> list[Node]:
    match = _BARE_IPV6.fullmatch(entry) or _HOST.fullmatch(entry)
    if match is None:
        raise ConfigError(f"not a host: {entry!r}, write it as [user@]host[:port]")
    groups = match.groupdict()
    user, port = groups["user"], groups.get("port")
    if user is not None and (user.startswith("-") or re.search(r"[\s\[\],:]", user)):
        raise ConfigError(f"not a user's name: {user!r} in {entry!r}")
    if port is not None and not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536):
        raise ConfigError(f"not a port: {port!r} in {entry!r}, it is a number from 1 to 65535")
    names = _names(groups.get("host"), groups["ipv6"])
    if not names:
        raise ConfigError(f"not a host: {entry!r}, write it as [user@]host[:port]")
    return [Node(name, name, port=int(port) if port else None, user=user) for name in names]


def _names(host: str | None, ipv6: str | None) -> list[str]:
    """The names that one entry stands for; none if they can't be names."""
    if ipv6 is not None:
        import ipaddress

        try:
            ipaddress.IPv6Address(ipv6)
        except ValueError:
            return []
        return [ipv6]
    try:
        names = expand(host or "")
    except NodeListError as error:
        raise ConfigError(str(error)) from error
    return names if all(map(_NAME.fullmatch, names)) else []


def _hosts(hosts: Value) -> tuple[Node, ...]:
    found: list[tuple[Node, ConfigError]] = []
    for host in hosts.items():
        if isinstance(host.data, dict):
            nodes = [_long_host(host)]
        else:
            try:
                nodes = list(parse_hosts(host.text()))
            except ConfigError as error:
                raise error if error.line else host.error(error.problem) from error
        found += [(node, host.error(_DUPLICATE.format(node.name))) for node in nodes]
    _refuse_duplicates(found)
    return tuple(node for node, _ in found)


def _long_host(host: Value) -> Node:
    values = host.section(_HOST_KEYS)
    if "name" not in values:
        raise host.error("a host needs a 'name'")
    name = values["name"].text()
    if not _NAME.fullmatch(name):
        raise values["name"].error(f"not a host's name: {name!r}")
    gpus = None
    if "gpus" in values:
        gpus = tuple(gpu.text() for gpu in values["gpus"].items())
    return Node(
        name=name,
        address=_text(values, "address") or name,
        port=values["port"].whole_number(1, 65535) if "port" in values else None,
        user=_text(values, "user"),
        gpus=gpus,
    )


def _refuse_duplicates(nodes: Iterable[tuple[Node, ConfigError]]) -> None:
    names: set[str] = set()
    for node, error in nodes:
        if node.name in names:
            raise error
        names.add(node.name)


def _ssh(ssh: Value, folder: str) -> SshOptions:
    values = ssh.section(_SSH_KEYS)
    timeout = values.get("connect_timeout")
    options = SshOptions(
        identity_file=_path(values, "identity_file", folder),
        known_hosts=_path(values, "known_hosts", folder),
        proxy_jump=_text(values, "proxy_jump"),
    )
    if timeout is None:
        return options
    seconds = float(timeout.number())
    return replace(options, connect_timeout_s=seconds, first_words_s=seconds)


def _ray(ray: Value) -> RayOptions:
    return RayOptions(_text(ray.section(("address",)), "address") or RayOptions.address)


def _slurm(slurm: Value) -> SlurmOptions:
    values = slurm.section(_SLURM_KEYS)
    lead, sbatch = values.get("signal_lead"), values.get("sbatch")
    return SlurmOptions(
        partition=_text(values, "partition"),
        account=_text(values, "account"),
        time=_text(values, "time"),
        signal_lead_s=lead.whole_number(1, 65535) if lead else None,
        sbatch=tuple(option.text() for option in sbatch.items()) if sbatch else (),
    )


def _env(env: Value) -> dict[str, str | None]:
    return dict(_variables(env))


def _variables(env: Value) -> Iterator[tuple[str, str | None]]:
    for name, value in env.mapping().items():
        if not _ENV_NAME.fullmatch(name):
            shown = name.partition("=")[0]  # for somebody who wrote NAME=VALUE
            raise ConfigError(f"env: not a variable's name: {shown!r}", value.file, value.line)
        if value.data is None:
            yield name, None
        elif value.data == "":
            yield name, ""
        else:
            yield name, value.text()


def _text(values: Mapping[str, Value], key: str) -> str | None:
    return values[key].text() if key in values else None


def _path(values: Mapping[str, Value], key: str, folder: str) -> str | None:
    """A path on this machine; ``~`` is the home folder, a relative one starts at the file's."""
    text = _text(values, key)
    return None if text is None else os.path.join(folder, os.path.expanduser(text))
