"""How to reach SSH hosts, as the cluster file says it: data only, free of paramiko."""

from __future__ import annotations

from dataclasses import dataclass

from launcher.clusters.base import FIRST_WORDS_S


@dataclass(frozen=True)
class SshOptions:
    """The ``ssh:`` section of a cluster file; what it leaves out, ``~/.ssh/config`` decides.

    ``identity_file`` is tried before all other keys; ``known_hosts`` replaces the usual files;
    ``proxy_jump`` is written as for ``ssh -J``: ``[user@]host[:port]``, several with commas.
    ``connect_timeout_s``, where it is given, also bounds the wait for an answer after the login
    (``first_words_s``).
    """

    identity_file: str | None = None
    known_hosts: str | None = None
    proxy_jump: str | None = None
    connect_timeout_s: float = 10.0
    first_words_s: float = FIRST_WORDS_S
