"""Plain SSH hosts as a cluster, by paramiko: what ``ssh host`` reaches, this reaches.

Hosts whose keys are not in known_hosts are refused. Nodes are connected to in parallel; a jump
host that several share is logged in to once.
"""

from __future__ import annotations

import itertools
import random
import re
import shlex
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import paramiko

from launcher.clusters.base import never, spare_first
from launcher.clusters.deadline import deadline
from launcher.clusters.ssh import errors as ssh_errors
from launcher.clusters.ssh.config import SshConfig, read_config
from launcher.clusters.ssh.errors import SshProblem, explain_exit
from launcher.clusters.ssh.login import Dropped, log_in
from launcher.clusters.ssh.options import SshOptions
from launcher.clusters.ssh.session import Session
from launcher.clusters.ssh.stream import SshStream
from launcher.clusters.ssh.target import SshTarget
from launcher.clusters.ssh.wire import Wire, direct, in_background, proxied, tunnel
from launcher.core.errors import NodeError
from launcher.core.job import Node

__all__ = ["SshCluster", "SshOptions", "command_line", "explain_exit"]

_AT_ONCE = 8  # handshakes; they are work for the processor, and servers bound them
_REMEMBER_S = 5.0  # how long a jump host that failed is not tried again
_HOME = re.compile(r"~([A-Za-z_][A-Za-z0-9_.-]*)?")
_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 @%+=:,./_-")


@dataclass(frozen=True)
class _Link:
    """A session on its wire."""

    session: Session
    wire: Wire

    def hang_up(self) -> None:
        """End it without waiting for anything."""
        self.wire.hang_up()
        in_background(self.session.close)


@dataclass
class _Jump:
    """A jump host that several nodes share: its link when it is up, or why it is not."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    link: _Link | None = None
    problem: SshProblem | None = None
    failed_at: float = 0.0


class SshCluster:
    """Hosts that can be logged in to by SSH."""

    name = "ssh"
    one_machine = False
    in_slurm_job = False
    inherited_stdin = None

    def __init__(self, nodes: tuple[Node, ...], options: SshOptions = SshOptions()) -> None:  # noqa: B008  (frozen)
        self._nodes, self._options = nodes, options
        self.first_words_s = options.first_words_s
        self._used: set[str] = set()
        self._config: SshConfig | None = None
        self._jumps: dict[tuple[str, ...], _Jump] = {}
        self._lock = threading.Lock()
        self._handshakes = threading.BoundedSemaphore(_AT_ONCE)

    def nodes(self, stop: Callable[[], bool] = never) -> tuple[Node, ...]:
        """All nodes, in the order in which they were given."""
        return self._nodes

    def prepare(self, nodes: Sequence[Node]) -> None:
        """Jump hosts are logged in to when the first node behind them is."""
        self._used.update(node.name for node in nodes)

    def replace(self, lost: Sequence[Node], stop: Callable[[], bool]) -> tuple[Node, ...]:
        """Nodes that were never used, then the lost ones."""
        return spare_first(self._nodes, self._used, lost)

    def connect(self, node: Node, argv: Sequence[str], env: Mapping[str, str]) -> SshStream:
        """Start ``argv`` on the node; ``env`` is ignored, as servers accept hardly any of it."""
        try:
            target = self._read_config().node(node.address, node.port, node.user)
            link = self._open(target, ())
        except SshProblem as problem:
            raise NodeError(node.name, problem.problem, problem.advice) from problem
        try:
            with deadline(self._options.connect_timeout_s, link.hang_up):
                channel = link.session.open_session(timeout=self._options.connect_timeout_s)
                channel.exec_command(command_line(argv))
        except (paramiko.SSHException, OSError, EOFError) as error:
            link.hang_up()
            raise NodeError(
                node.name,
                f"logged in, but no program could be started: {str(error) or 'connection closed'}",
                "may this user run commands there?",
            ) from error
        return SshStream(channel, link.hang_up)

    def close(self) -> None:
        """Hang up the jump hosts."""
        with self._lock:
            jumps, self._jumps = self._jumps, {}
        for jump in jumps.values():
            if jump.link is not None:
                jump.link.hang_up()

    # -- from a target to a session

    def _read_config(self) -> SshConfig:
        with self._lock:
            if self._config is None:
                self._config = read_config(self._options)
            return self._config

    def _open(self, target: SshTarget, on_the_way_to: tuple[SshTarget, ...]) -> _Link:
        """Log in to ``target``, over its jump hosts if it has any."""
        timeout_s = self._options.connect_timeout_s
        deadline, pause_s = time.monotonic() + timeout_s, 0.1
        for tries in itertools.count(1):
            wire = self._wire(target, on_the_way_to)
            try:
                with self._handshakes:
                    return _Link(log_in(wire.end, target, timeout_s), wire)
            except Dropped as error:
                problem = wire.explain() or ssh_errors.no_handshake(target, str(error), tries)
                wire.hang_up()
                if time.monotonic() > deadline or target.proxy_command is not None:
                    raise problem from error
            except BaseException:
                wire.hang_up()
                raise
            time.sleep(pause_s * random.uniform(0.5, 1.5))  # others are turned away as well
            pause_s = min(2 * pause_s, 1.0)
        raise AssertionError("unreachable")

    def _wire(self, target: SshTarget, on_the_way_to: tuple[SshTarget, ...]) -> Wire:
        """A connection to the target's port."""
        timeout_s = self._options.connect_timeout_s
        jump = self._last_jump(target, on_the_way_to)
        if jump is not None:
            session = self._shared(jump, (*on_the_way_to, target)).session
            return tunnel(session, jump, target, timeout_s)
        if target.proxy_command is not None:
            return proxied(target.proxy_command)
        return direct(target, timeout_s)

    def _last_jump(
        self, target: SshTarget, on_the_way_to: tuple[SshTarget, ...]
    ) -> SshTarget | None:
        """The jump host that is nearest to the target, itself reached over those before it."""
        if not target.jumps:
            return None
        *before, last = target.jumps
        jump = self._read_config().jump(last, tuple(before))
        if jump.place == target.place:  # such as `ProxyJump bastion` below `Host *`
            return None
        if jump.place in (other.place for other in on_the_way_to):
            raise SshProblem(
                f"the jump hosts lead in a circle: {jump.name} is reached over {target.name}",
                "mend ProxyJump in ~/.ssh/config",
            )
        return jump

    def _shared(self, target: SshTarget, on_the_way_to: tuple[SshTarget, ...]) -> _Link:
        """The one link to a jump host, opened by whoever comes first."""
        key = (target.host, str(target.port), target.user, *target.jumps)
        with self._lock:
            jump = self._jumps.setdefault(key, _Jump())
        with jump.lock:
            if jump.link is not None and jump.link.session.is_active():
                return jump.link
            if jump.problem is not None and time.monotonic() - jump.failed_at < _REMEMBER_S:
                raise jump.problem
            try:
                jump.link = self._open(target, on_the_way_to)
            except SshProblem as problem:
                jump.problem, jump.failed_at = problem.at_jump_host(target.name), time.monotonic()
                raise jump.problem from problem
            return jump.link


def command_line(argv: Sequence[str]) -> str:
    """One command that any login shell (sh, csh, fish) understands alike and runs as ``argv``.

    Inside the quotes are only characters that no shell takes for its own; sh puts the others back.
    ``~`` and ``~user`` before the program are homes of that machine.
    """
    program, *words = argv
    home, slash, rest = program.partition("/")
    if _HOME.fullmatch(home):
        program = home + slash + (shlex.quote(rest) if rest else "")
    else:
        program = shlex.quote(program)
    text = " ".join([program, *map(shlex.quote, words)]).encode("utf-8", "surrogateescape")
    encoded = "".join(chr(byte) if byte in _PLAIN else f"\\0{byte:03o}" for byte in text)
    return f"""exec /bin/sh -c 'eval "exec $(printf %b "{encoded}")"'"""
