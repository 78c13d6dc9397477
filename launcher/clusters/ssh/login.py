"""Logging in: from a byte connection to an SSH session with a server whose key we know."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Iterator
from typing import Any

import paramiko

from launcher.clusters.ssh import errors as ssh_errors
from launcher.clusters.ssh.errors import SshProblem
from launcher.clusters.ssh.known_hosts import key_name, known_keys
from launcher.clusters.ssh.session import Session
from launcher.clusters.ssh.target import SshTarget

# paramiko logs what it also raises; without this, Python would print it all.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


class Dropped(Exception):
    """The server closed the connection before it said a word: it may be busy. Try again."""


def log_in(wire: Any, target: SshTarget, timeout_s: float) -> Session:
    """Shake hands with the server at the end of ``wire``, check its key and log in.

    Raises `SshProblem`, or `Dropped` if it is worth another try.
    """
    session = Session(wire)
    session.banner_timeout = session.handshake_timeout = session.auth_timeout = timeout_s
    try:
        known = known_keys(target.known_hosts, target.key_name)
        _prefer(session, {key.key_type for key in known})
        _shake_hands(session, target, timeout_s)
        _check_host_key(session.get_remote_server_key(), target)
        _authenticate(session, target)
    except BaseException:
        session.close()
        raise
    return session


def _prefer(session: Session, known_types: set[str]) -> None:
    """Ask the server for a key of a kind that we know of it."""
    options = session.get_security_options()
    options.key_types = sorted(
        options.key_types,
        key=lambda kind: ("ssh-rsa" if kind.startswith("rsa-sha2") else kind) not in known_types,
    )


def _shake_hands(session: Session, target: SshTarget, timeout_s: float) -> None:
    started = time.monotonic()
    try:
        session.start_client(timeout=timeout_s)
    except (paramiko.SSHException, EOFError, OSError) as error:
        reason = str(error) or "the connection was closed"
        if time.monotonic() - started < timeout_s:
            if not session.remote_version and "Indecipherable" not in reason:
                raise Dropped(reason) from error
            raise ssh_errors.no_handshake(target, reason) from error
    if not session.initial_kex_done:
        raise ssh_errors.no_handshake(target, f"no answer within {timeout_s:g} s")


def _check_host_key(key: paramiko.PKey, target: SshTarget) -> None:
    """Go on only with a server that known_hosts vouches for."""
    known = known_keys(target.known_hosts, target.key_name)
    if not known and target.key_name == key_name(target.host, target.port):
        # as ssh: the machine's own key, which it shows on another port
        plain = known_keys(target.known_hosts, target.host)
        known = [one for one in plain if one.key == key.get_base64()]
    kind, same = key.get_name(), [one for one in known if one.key == key.get_base64()]
    for one in same:
        if one.revoked:
            raise ssh_errors.revoked_host_key(target, key.fingerprint, (one.file, one.line))
    if same:
        return
    for one in known:
        if not one.revoked:
            raise ssh_errors.changed_host_key(target, kind, key.fingerprint, one)
    raise ssh_errors.unknown_host_key(target, kind, key.fingerprint)


def _authenticate(session: Session, target: SshTarget) -> None:
    tried: list[str] = []
    encrypted: list[str] = []
    accepted: list[str] = []
    with contextlib.closing(_agent()) as agent:
        for label, key in _keys(target, agent.get_keys(), encrypted):
            tried.append(label)
            if key is None:
                continue
            try:
                more = session.auth_publickey(target.user, key)
            except paramiko.BadAuthenticationType as error:
                accepted = list(error.allowed_types)
                break
            except paramiko.AuthenticationException:
                continue
            except (paramiko.SSHException, EOFError, OSError) as error:
                if not session.is_active():
                    tried[-1] += " (then the server closed the connection)"
                    break
                tried[-1] += f" ({error})"
                continue
            if session.is_authenticated():
                return
            accepted = list(more)
            raise SshProblem(
                f"user {target.user!r} needs more than a key: {', '.join(accepted)}",
                "let this key in by itself; nobody is there to type a code",
            )
    raise ssh_errors.refused_login(target, tried, encrypted, accepted)


def _agent() -> Any:
    """The user's ssh-agent; without one, an agent that has no keys."""
    try:
        return paramiko.Agent()
    except (paramiko.SSHException, OSError):
        return _NoAgent()


class _NoAgent:
    def get_keys(self) -> tuple[()]:
        return ()

    def close(self) -> None:
        pass


def _keys(
    target: SshTarget, of_agent: tuple[paramiko.AgentKey, ...], encrypted: list[str]
) -> Iterator[tuple[str, paramiko.PKey | None]]:
    """The keys to try, each with a name: few tries are allowed, so the likeliest come first."""
    publics = {_public(file): file for file in target.identity_files}
    matching = [key for key in of_agent if key.get_base64() in publics]
    for key in matching:
        yield f"{publics[key.get_base64()]} (agent)", key
    others = [
        (f"{key.comment or key.fingerprint} (agent)", key)
        for key in of_agent
        if key not in matching and not target.identities_only
    ]
    held = {publics[key.get_base64()] for key in matching}
    files = _key_files(target, held, encrypted)
    if target.explicit_identities:
        yield from files
        yield from others
    else:
        yield from others
        yield from files


def _key_files(
    target: SshTarget, held: set[str], encrypted: list[str]
) -> Iterator[tuple[str, paramiko.PKey | None]]:
    for file in target.identity_files:
        private = file.removesuffix(".pub")
        if file in held or not os.path.exists(private):
            continue
        try:
            yield file, paramiko.PKey.from_path(private)
        except (paramiko.PasswordRequiredException, TypeError):
            encrypted.append(file)
        except (paramiko.SSHException, ValueError, OSError) as error:
            yield f"{file} (not usable: {error})", None


def _public(file: str) -> str:
    """The public half of a key file, in base64, if it lies beside it."""
    try:
        with open(file.removesuffix(".pub") + ".pub", encoding="utf-8") as text:
            return text.read().split()[1]
    except (OSError, ValueError, IndexError):
        return file
