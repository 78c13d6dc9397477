"""A machine to log in to: data only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SshTarget:
    """A machine to log in to, with all that was said about it.

    ``name`` is what the user calls it, ``host`` what is connected to, ``key_name`` how
    known_hosts files call it.
    """

    name: str
    host: str
    port: int
    user: str
    key_name: str
    known_hosts: tuple[str, ...]
    identity_files: tuple[str, ...]
    explicit_identities: bool
    identities_only: bool
    jumps: tuple[str, ...] = ()
    proxy_command: str | None = None

    @property
    def place(self) -> tuple[str, int]:
        """The machine as a place in the network."""
        return self.host, self.port

    @property
    def is_direct(self) -> bool:
        """Whether it is connected to without help."""
        return not self.jumps and self.proxy_command is None
