"""What can go wrong on the way to an SSH host, in one clear line each, with what to do about it."""

from __future__ import annotations

import errno
import os
import shlex
import socket
from collections.abc import Sequence

from launcher.clusters.ssh.known_hosts import KnownKey
from launcher.clusters.ssh.target import SshTarget
from launcher.core.errors import NodeError
from launcher.core.job import Node


class SshProblem(Exception):
    """Why a machine on the way could not be used; which node it was for is told later."""

    def __init__(self, problem: str, advice: str = "") -> None:
        super().__init__(problem)
        self.problem, self.advice = problem, advice

    def at_jump_host(self, name: str) -> SshProblem:
        """The same, met on the way."""
        return SshProblem(f"jump host {name}: {self.problem}", self.advice)


def impossible_name(what: str, name: str) -> SshProblem:
    """A name that a ProxyCommand or a command in an advice could misunderstand."""
    return SshProblem(f"{name!r} can't be the name of a {what}", "check the spelling")


def not_reached(target: SshTarget, error: OSError | UnicodeError, timeout_s: float) -> SshProblem:
    """No connection to the machine's port."""
    where = f"{target.host} port {target.port}"
    if isinstance(error, socket.gaierror | UnicodeError):
        return SshProblem(
            f"unknown host name {target.host!r}",
            "check the spelling, DNS and /etc/hosts, or give its address in the cluster file",
        )
    if isinstance(error, ConnectionRefusedError):
        return SshProblem(
            f"connection refused by {where}",
            "is sshd running there, and on that port? Another one is given as host:PORT, "
            "or by `port:` in the cluster file",
        )
    if isinstance(error, TimeoutError) or error.errno == errno.ETIMEDOUT:
        return SshProblem(
            f"no answer from {where} within {timeout_s:g} s",
            "is it switched on, in this network, and not behind a firewall? "
            "To wait longer: `ssh: {connect_timeout: SECONDS}`",
        )
    return SshProblem(
        f"{where} is unreachable: {error.strerror or error}",
        "is it switched on, and in this network?",
    )


def not_reached_from_jump(jump: SshTarget, target: SshTarget, reason: str = "") -> SshProblem:
    """The jump host could be used, but it can't get to the next machine."""
    return SshProblem(
        f"jump host {jump.name} can't connect to {target.host} port {target.port}"
        + (f": {reason}" if reason else ""),
        f"is that name known on {jump.name}, is the machine on, and is sshd on that port?",
    )


def jump_forbidden(jump: SshTarget) -> SshProblem:
    """The jump host lets people in, but not through."""
    return SshProblem(
        f"jump host {jump.name} forbids going on from there",
        "it needs `AllowTcpForwarding yes` in its sshd_config",
    )


def proxy_command_failed(command: str, code: int, said: Sequence[str]) -> SshProblem:
    """The program that should lead to the machine ended."""
    return SshProblem(
        f"the ProxyCommand {command!r} ended with {code}" + "".join(f": {line}" for line in said),
        "try that command by itself",
    )


def no_handshake(target: SshTarget, reason: str, tries: int = 1) -> SshProblem:
    """Something accepted the connection, and then no SSH session came about."""
    return SshProblem(
        f"{target.host} port {target.port} accepts connections, but the SSH handshake failed"
        + (f" ({tries} times)" if tries > 1 else "")
        + f": {reason}",
        "is it an SSH server? It may allow fewer connections at once (MaxStartups), or bar you",
    )


def unknown_host_key(target: SshTarget, key_type: str, fingerprint: str) -> SshProblem:
    """Nobody vouched for this machine's key."""
    return SshProblem(
        f"unknown host key of {target.key_name}: {key_type} {fingerprint}",
        f"{_ask_for_it(key_type)}; then run: {_learn(target)}, and answer its question with that "
        "fingerprint: ssh compares",
    )


def changed_host_key(
    target: SshTarget, key_type: str, fingerprint: str, known: KnownKey
) -> SshProblem:
    """Another key than before: a reinstalled machine, or another one in its place."""
    return SshProblem(
        f"host key of {target.key_name} has changed: it is now {key_type} {fingerprint}, "
        f"and {known.file} line {known.line} has {known.key_type} {known.fingerprint}",
        "this may be another machine in its place, whose owner reads along. Find out why it "
        f"changed: {_ask_for_it(key_type)}. Only if that is the new one, take the old line out of "
        f"{known.file} by hand; plaunch then says how a new key is accepted",
    )


def _ask_for_it(key_type: str) -> str:
    """How one learns a machine's true key: not by asking whoever answers at its address."""
    kind = key_type.split("-")[0 if key_type.startswith("ecdsa") else 1]
    return (
        "get the host's fingerprint from its administrator, by another way than this connection "
        f"(on its console: ssh-keygen -lf /etc/ssh/ssh_host_{kind}_key.pub)"
    )


def revoked_host_key(target: SshTarget, fingerprint: str, known: tuple[str, int]) -> SshProblem:
    """A key that known_hosts marks as stolen."""
    return SshProblem(
        f"host key {fingerprint} of {target.key_name} is revoked in {known[0]} line {known[1]}",
        "give that machine a new host key",
    )


def refused_login(
    target: SshTarget, tried: Sequence[str], encrypted: Sequence[str], accepted: Sequence[str]
) -> SshProblem:
    """The machine let none of the keys in."""
    if encrypted:
        tells = f"and none of the other keys was accepted ({', '.join(tried)})" if tried else ""
        return SshProblem(
            f"the key {encrypted[0]} is encrypted and no ssh-agent holds it {tells}".rstrip(),
            f"run: ssh-add {shlex.quote(encrypted[0])}   (first: eval $(ssh-agent))",
        )
    if not tried:
        return SshProblem(
            f"no key to log in with as user {target.user!r}",
            f"make one with ssh-keygen, then: {_copy_id(target)}; "
            "or name one by `ssh: {identity_file: ...}`",
        )
    if accepted and "publickey" not in accepted:
        return SshProblem(
            f"it takes no keys for user {target.user!r}, only: {', '.join(accepted)}",
            "allow PubkeyAuthentication in its sshd_config",
        )
    return SshProblem(
        f"user {target.user!r} was refused with the keys tried: {', '.join(tried)}",
        f"is the user name right (user@host, or `user:` in the cluster file)? To let a key in: "
        f"{_copy_id(target)}",
    )


def explain_exit(node: Node, code: int | None, stderr_text: str) -> NodeError | None:
    """Why the program that was to be started never ran, if that is what ``code`` says."""
    said = stderr_text.strip().splitlines()[-1:] or [""]
    if code == 127:
        return NodeError(
            node.name,
            f"no python at {node.python!r}" + (f": {said[0]}" if said[0] else ""),
            "give the path of a Python with torch there by `python:` in the cluster file",
        )
    if code == 126:
        return NodeError(
            node.name,
            f"{node.python!r} can't be run" + (f": {said[0]}" if said[0] else ""),
            "is it a program for that machine, and may this user run it?",
        )
    return None


def _learn(target: SshTarget) -> str:
    """The command that asks for the fingerprint, compares, and notes the key where we look."""
    usable = [file for file in target.known_hosts if file != "/dev/null"]
    file = usable[0] if usable else "~/.ssh/known_hosts"
    options = f"-o StrictHostKeyChecking=ask -o UserKnownHostsFile={_quoted(file)}"
    if not target.is_direct or target.key_name.startswith("[") != (target.port != 22):
        # by its name: with the jump hosts and the HostKeyAlias that ssh's configuration has
        return f"ssh {options} {shlex.quote(target.name)} true"
    port = f" -p {target.port}" if target.port != 22 else ""
    return f"ssh{port} {options} {shlex.quote(target.host)} true"


def _quoted(file: str) -> str:
    """``file`` for a shell, in its short form."""
    home = os.path.expanduser("~/")
    short = "~/" + file[len(home) :] if file.startswith(home) else file
    return short if shlex.quote(short[2:]) == short[2:] and short[:2] == "~/" else shlex.quote(file)


def _copy_id(target: SshTarget) -> str:
    port = f"-p {target.port} " if target.port != 22 else ""
    return f"ssh-copy-id {port}{shlex.quote(f'{target.user}@{target.host}')}"
