"""Which machine is meant: ``~/.ssh/config``, the cluster file and the node, put together."""

from __future__ import annotations

import glob
import os
import re
import shlex
from collections.abc import Iterator
from getpass import getuser

import paramiko

from launcher.clusters.ssh import errors as ssh_errors
from launcher.clusters.ssh.errors import SshProblem
from launcher.clusters.ssh.known_hosts import key_name
from launcher.clusters.ssh.options import SshOptions
from launcher.clusters.ssh.target import SshTarget

_DEFAULT_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")
_GLOBAL_KNOWN_HOSTS = "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2"
_MAX_INCLUDES = 16  # as deep as OpenSSH follows them
_FIRST_WORDS = re.compile(r"\s*(\w+)(?:\s*=\s*|\s+)(.*)")
_IMPOSSIBLE = re.compile(r"[\s\x00-\x1f'`\"$\\;&<>|(){},]")  # as OpenSSH sees it
_JUMP = re.compile(
    r"\[(.+)\](?::(\d+))?"  # [address] or [address]:port
    r"|([^:]+)(?::(\d+))?"  # name or name:port
    r"|([^\[\]:]*:[^\[\]:]*:[^\[\]]*)"  # an IPv6 address, which has two colons at least
)
# The rest of these lines is a program's, "#" and all.
_TAKES_ALL = {"proxycommand", "localcommand", "remotecommand", "knownhostscommand", "match"}


class SshConfig:
    """The user's and the machine's ssh configuration files, under the cluster file's options."""

    def __init__(self, config: paramiko.SSHConfig, options: SshOptions) -> None:
        self._config, self._options = config, options

    def node(self, address: str, port: int | None, user: str | None) -> SshTarget:
        """The target for a node of the cluster."""
        jumps = self._options.proxy_jump
        return self.target(address, port, user, None if jumps is None else _split_jumps(jumps))

    def jump(self, word: str, before: tuple[str, ...]) -> SshTarget:
        """The target for a jump host, written ``[user@]host[:port]``, reached over ``before``."""
        user, host, port = parse_jump(word)
        return self.target(host, port, user, before or None)

    def target(
        self, name: str, port: int | None, user: str | None, jumps: tuple[str, ...] | None
    ) -> SshTarget:
        """What the files say of ``name``, below what is said more closely."""
        for what, word in (("host", name), ("user", user or "")):
            if word.startswith("-") or _IMPOSSIBLE.search(word):
                raise ssh_errors.impossible_name(what, word)
        try:
            said = self._config.lookup(name)
            host = said["hostname"]
            number = port or int(said.get("port", 22))
        except (paramiko.SSHException, ValueError, KeyError, ImportError) as error:
            raise SshProblem(
                f"~/.ssh/config can't be used for {name}: {error}",
                f"`ssh -G {shlex.quote(name)}` shows what OpenSSH makes of it",
            ) from error
        if jumps is None:
            jumps = _split_jumps(said.get("proxyjump", "none"))
        identities = [file for file in said.get("identityfile", []) if file.lower() != "none"]
        if self._options.identity_file is not None:
            identities.insert(0, _there(self._options.identity_file))
        alias = said.get("hostkeyalias")
        return SshTarget(
            name=name,
            host=host,
            port=number,
            user=user or said.get("user") or getuser(),
            key_name=(alias or key_name(host, number)).lower(),
            known_hosts=self._known_hosts(said),
            identity_files=tuple(_full(file) for file in identities)
            or tuple(_full(f"~/.ssh/{file}") for file in _DEFAULT_KEYS),
            explicit_identities=bool(identities),
            identities_only=said.get("identitiesonly", "no").lower() == "yes",
            jumps=jumps,
            proxy_command=None if jumps else said.get("proxycommand"),
        )

    def _known_hosts(self, said: paramiko.SSHConfigDict) -> tuple[str, ...]:
        if self._options.known_hosts is not None:
            return (_full(self._options.known_hosts),)
        users = said.get("userknownhostsfile", "~/.ssh/known_hosts ~/.ssh/known_hosts2")
        both = f"{users} {said.get('globalknownhostsfile', _GLOBAL_KNOWN_HOSTS)}"
        return tuple(_full(file) for file in shlex.split(both) if file.lower() != "none")


def read_config(options: SshOptions) -> SshConfig:
    """Read ``~/.ssh/config``, then the machine's own, as OpenSSH does."""
    config = paramiko.SSHConfig()
    for file in ("~/.ssh/config", "/etc/ssh/ssh_config"):
        try:
            config.parse(_lines(_full(file), os.path.dirname(_full(file)), 0))
        except (paramiko.SSHException, OSError, ValueError) as error:
            raise SshProblem(f"{file} can't be read: {error}", "mend that line") from error
    return SshConfig(config, options)


def parse_jump(word: str) -> tuple[str | None, str, int | None]:
    """Take ``[user@]host[:port]`` apart; an IPv6 address with a port is in brackets."""
    word = word.removeprefix("ssh://").rstrip("/")
    user, _, rest = word.rpartition("@")
    found = _JUMP.fullmatch(rest)
    if found is None:
        raise SshProblem(
            f"{word!r} is no jump host", "write it as [user@]host[:port], several with commas"
        )
    host = found[1] or found[3] or found[5]
    port = found[2] or found[4]
    return user or None, host, int(port) if port else None


def _lines(file: str, folder: str, depth: int) -> Iterator[str]:
    """The lines of a config file with those that it includes (paramiko knows no Include)."""
    if not os.path.exists(file):
        return
    if depth > _MAX_INCLUDES:
        raise ValueError(f"{file} is included by itself")
    block = "Host *"
    with open(file, encoding="utf-8", errors="replace") as text:
        for line in text:
            words = _FIRST_WORDS.match(line)
            keyword = words[1].lower() if words else ""
            if words and keyword == "include":
                for pattern in shlex.split(words[2], comments=True):
                    for included in sorted(glob.glob(os.path.join(folder, _full(pattern)))):
                        yield from _lines(included, folder, depth + 1)
                yield block  # what the included file opened ends with it
                continue
            if keyword in ("host", "match"):
                block = line
            if keyword not in _TAKES_ALL and '"' not in line:
                line = re.sub(r"\s#.*", "", line)
            yield line


def _split_jumps(text: str) -> tuple[str, ...]:
    if text.strip().lower() in ("none", ""):
        return ()
    return tuple(word.strip() for word in text.split(","))


def _there(file: str) -> str:
    """A key file that was asked for by name, so it should be there."""
    if not os.path.exists(_full(file)):
        raise SshProblem(f"no such identity file: {file}", "check its path")
    return file


def _full(file: str) -> str:
    return os.path.expanduser(file)
