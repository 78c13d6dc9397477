"""The byte connection below an SSH session: TCP, a tunnel through a jump host, a ProxyCommand."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import paramiko

from launcher.clusters.ssh import errors as ssh_errors
from launcher.clusters.ssh.errors import SshProblem
from launcher.clusters.ssh.session import Session, Tunnel
from launcher.clusters.ssh.target import SshTarget

_FORBIDDEN = 1  # RFC 4254, SSH_OPEN_ADMINISTRATIVELY_PROHIBITED
_KEEPALIVE = (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 4))


@dataclass(frozen=True)
class Wire:
    """``end`` is a socket or what acts as one; ``hang_up`` ends it at once, cable or not.

    ``explain`` tells why it ended, where the wire knows more than its end.
    """

    end: Any
    hang_up: Callable[[], None]
    explain: Callable[[], SshProblem | None] = lambda: None


def direct(target: SshTarget, timeout_s: float) -> Wire:
    """Connect to the target's port."""
    try:
        end = socket.create_connection(target.place, timeout_s)
    except (OSError, UnicodeError) as error:
        raise ssh_errors.not_reached(target, error, timeout_s) from error
    # Send small messages at once, and notice in the end when nobody answers.
    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    end.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE:
        if hasattr(socket, option):  # not on every system
            end.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    return Wire(end, lambda: _cut(end))


def tunnel(session: Session, jump: SshTarget, target: SshTarget, timeout_s: float) -> Wire:
    """Have the jump host, logged in to by ``session``, connect to the target's port."""
    try:
        end = Tunnel(session, target.place, timeout_s)
    except paramiko.ChannelException as error:
        if error.code == _FORBIDDEN:
            raise ssh_errors.jump_forbidden(jump) from error
        raise ssh_errors.not_reached_from_jump(jump, target) from error
    except (paramiko.SSHException, OSError, EOFError) as error:
        reason = str(error) if session.is_active() else "the connection to it broke"
        if "imeout" in reason:
            reason = f"no answer within {timeout_s:g} s"
        raise ssh_errors.not_reached_from_jump(jump, target, reason) from error
    return Wire(end, lambda: in_background(end.close))


def proxied(command: str) -> Wire:
    """Start a ProxyCommand on one end of a socket pair; the other is the wire."""
    end, its_end = socket.socketpair()
    said = os.fdopen(os.memfd_create("plaunch-proxy-command"), "w+b")  # no folder is needed
    with its_end:
        process = subprocess.Popen(
            ["/bin/sh", "-c", f"exec {command}"],
            stdin=its_end.fileno(),
            stdout=its_end.fileno(),
            stderr=said,
            start_new_session=True,  # a Ctrl-C is for us, and we still need the connection
        )

    def hang_up() -> None:
        _cut(end)
        said.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        in_background(process.wait)

    def explain() -> SshProblem | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(1)
        if process.returncode is None:
            return None
        said.seek(0)
        lines = said.read().decode(errors="replace").strip().splitlines()
        return ssh_errors.proxy_command_failed(command, process.returncode, lines[-1:])

    return Wire(end, hang_up, explain)


def in_background(action: Callable[[], object]) -> None:
    """Do something that may have to wait for a cable, and whose failure is no news."""

    def act() -> None:
        with contextlib.suppress(paramiko.SSHException, OSError, EOFError):
            action()

    threading.Thread(target=act, daemon=True).start()


def _cut(end: socket.socket) -> None:
    """End a connection so that whoever waits for it wakes up."""
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
