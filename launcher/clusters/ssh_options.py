"""How to reach SSH hosts, as the cluster file says it: data only, free of paramiko."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SshOptions:
    """The ``ssh:`` section of a cluster file; what it leaves out, ``~/.ssh/config`` decides.

    ``identity_file`` is tried before all other keys; ``known_hosts`` replaces the usual files;
    ``proxy_jump`` is written as for ``ssh -J``: ``[user@]host[:port]``, several with commas.
    """

    identity_file: str | None = None
    known_hosts: str | None = None
    proxy_jump: str | None = None
    connect_timeout_s: float = 10.0
