"""The agent's end of the fork server, and its start: the first thing that an agent does.

It sends orders and receives messages; what they lead to is decided in launcher.agent.loop.
"""

from __future__ import annotations

import os

from launcher.agent.forkserver.needs_cold import wants_cold
from launcher.agent.forkserver.needs_compiler import NEVER, wants_compiler
from launcher.agent.lowlevel import socket
from launcher.agent.node.program_files import program_folder
from launcher.agent.ranks import processes
from launcher.core.protocol.frames import Decoder, encode

TYPE_CHECKING = False  # as type checkers know it; importing typing would delay every start
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any


# What runs in a rank, and in the fork server.
RANK = ("launcher.agent.ranks.torch_parts", "launcher.agent.ranks.rank")
SERVER = ("launcher.agent.forkserver.server", *RANK)


class ForkServer:
    """A started fork server. It answers in its own time; orders may be sent before it is ready."""

    def __init__(
        self,
        python: str,
        sources: tuple[str, ...],
        modules: Sequence[str],
        env: Mapping[str, str],
        cwd: str | None,
        compiler: str = NEVER,
        directory: str | None = None,
    ) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        serve = processes.SERVE.format(
            sock=theirs.fileno(),
            modules=list(modules),
            compiler=compiler,
            directory=directory,
        )
        self._errors = os.memfd_create("plaunch-errors")
        null = os.open(os.devnull, os.O_RDWR)
        try:
            self.pid = processes.spawn_python(
                python,
                (*sources, serve),
                env,
                (null, null, self._errors),
                cwd,
                (theirs.fileno(),),
            )
        except OSError:
            ours.close()
            raise
        finally:
            os.close(null)
            theirs.close()
        self._sock = ours
        self._decoder = Decoder()
        self.found = self.ready = False
        self.closed = False

    def fileno(self) -> int:
        """For the agent's selector."""
        return self._sock.fileno()

    def send(self, order: dict[str, Any], fds: Sequence[int]) -> None:
        """Send an order with file descriptors beside it."""
        import array

        frame = encode({**order, "fds": len(fds)})
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))]
        try:
            sent = self._sock.sendmsg([frame], ancillary if fds else [])
            self._sock.sendall(frame[sent:])
        except OSError:
            self.closed = True

    def receive(self) -> Iterator[dict[str, Any]]:
        """The messages that are there now."""
        try:
            data = self._sock.recv(65536)
        except OSError:
            data = b""
        if not data:
            self.closed = True
        for message in self._decoder.feed(data):
            self.found = True
            if message["op"] == "ready":
                self.ready = True
            yield message

    def last_words(self) -> str:
        """What it wrote to its standard error: why it could not start."""
        size = os.fstat(self._errors).st_size
        data = os.pread(self._errors, 4000, max(0, size - 4000))
        text = data.decode(errors="replace").strip()
        return text.splitlines()[-1] if text else "python ended before it was ready"


class Started:
    """What the start decided: the fork server (None, and ``problem``, if python can't run)."""

    def __init__(self, config: dict[str, Any], sources: Mapping[str, Any]) -> None:
        self.mark = marker(config["job_id"], config["node_rank"])
        self.cwd = config["workdir"]
        self.env = {**os.environ, **config["env"], self.mark: "1"}
        self.notes: list[str] = []
        self.problem: str | None = None
        self.server: ForkServer | None = None
        kind, target = config["kind"], config["target"]
        asked = config["start"] == "cold" or kind == "program"
        self.cold = asked
        if kind == "program":
            return  # nothing of Python is asked of the node
        why = None if asked else wants_cold(kind, target, self.cwd)
        if why:
            self.notes.append(f"{target} sets {why} before it imports torch: starting cold")
        self.cold = asked or why is not None
        modules = [] if self.cold else ["torch", *config["preload"]]
        ours = tuple(sources[name] for name in SERVER)
        cwd = self.cwd if os.path.isdir(self.cwd) else None
        try:
            when, own = self._compiler(config), program_folder(kind, target, self.cwd)
            self.server = ForkServer(config["python"], ours, modules, self.env, cwd, when, own)
        except OSError as error:
            self.problem = f"{config['python']}: {error.strerror}"

    def _compiler(self, config: dict[str, Any]) -> str:
        """When the server shall import torch's compiler, too."""
        if self.cold:
            return NEVER
        pickled = b""
        if config["pickled"]:
            from launcher.agent.wire import unpacked

            pickled = unpacked(config["pickled"])
        kind, target, args = config["kind"], config["target"], config["args"]
        return wants_compiler(kind, target, args, self.cwd, pickled, config["compat"])


def marker(job_id: str, node_rank: str) -> str:
    """The environment variable that marks a process of this run on this node.

    The name, not the value, says which run: a run inside a run carries both markers.
    """
    plain = "".join(c if c.isascii() and c.isalnum() else "_" for c in job_id)
    return f"PLAUNCH_MARK_{plain}_{node_rank}"
