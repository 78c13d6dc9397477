"""Starting the processes of a node: the fork server, and ranks with an interpreter of their own.

Both run ``python -u -c ENTRY`` in the user's environment and read our sources from a pipe, so that
nothing has to be installed or written on a node.
"""

from __future__ import annotations

import os

from launcher.agent.lowlevel import signal
from launcher.agent.node import cleanup, limits

TYPE_CHECKING = False  # as type checkers know it; importing typing would delay every start
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# {fd} holds: server.py \0 torch_parts.py \0 rank.py \0 what to do.
ENTRY = """\
import sys
if sys.path and not sys.path[0]: del sys.path[0]
import os
given = {fd}
with os.fdopen(given, "rb") as file: sources = file.read().split(b"\\0")
space = {{"__name__": "plaunch", "__builtins__": __builtins__}}
for source in sources: exec(compile(source, "<plaunch>", "exec"), space)
"""

SERVE = """\
import socket as _socket
order = serve(_socket.socket(fileno={sock}), {modules!r}, {compiler!r}, {directory!r})
if order is not None:
    if order["kind"] == "store": host_store(order)
    else:
        pickled_fd = order.get("pickled_fd")
        run(order["kind"], order["target"], order["args"], pickled_fd, order["compat"])
"""

STORE = """\
host_store({order!r})
"""

RUN = """\
run({kind!r}, {target!r}, {args!r}, {pickled_fd!r}, {compat!r})
"""


def spawn(
    argv: Sequence[str],
    env: Mapping[str, str],
    streams: tuple[int, int, int],
    cwd: str | None = None,
    pass_fds: Sequence[int] = (),
) -> int:
    """Start ``argv`` in a session of its own; returns its process id. Raises OSError.

    It gets SIGKILL when the agent's only thread ends, and all signals at their defaults. By fork
    and exec rather than the subprocess module, whose import would delay every start.
    """
    failed_read, failed_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            _become(argv, env, streams, cwd, pass_fds)
        except BaseException as error:  # all of it belongs to the parent
            number = getattr(error, "errno", None) or 0
            os.write(failed_write, f"{number} {error}".encode()[:1000])
        finally:
            os._exit(127)
    os.close(failed_write)
    with os.fdopen(failed_read, "rb") as pipe:
        failed = pipe.read().decode(errors="replace")
    if failed:
        os.waitpid(pid, 0)
        code, _, text = failed.partition(" ")
        raise OSError(int(code), os.strerror(int(code)) if code != "0" else text)
    return pid


def _become(
    argv: Sequence[str],
    env: Mapping[str, str],
    streams: tuple[int, int, int],
    cwd: str | None,
    pass_fds: Sequence[int],
) -> None:
    os.setsid()
    cleanup.prctl(cleanup.PR_SET_PDEATHSIG, signal.SIGKILL)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # python ignores them; exec keeps that
        signal.signal(number, signal.SIG_DFL)
    for target, fd in enumerate(streams):
        os.dup2(fd, target)
    for fd in pass_fds:
        os.set_inheritable(fd, True)
    if cwd is not None:
        os.chdir(cwd)
    limits.restore_limit()
    os.execvpe(argv[0], list(argv), dict(env))


def spawn_python(
    python: str,
    sources: Sequence[str],
    env: Mapping[str, str],
    streams: tuple[int, int, int],
    cwd: str | None = None,
    pass_fds: Sequence[int] = (),
) -> int:
    """Start ``python`` on our ``sources``, executed one after the other in one name space."""
    read, write = os.pipe()
    try:
        body = b"\0".join(source.encode() for source in sources)
        _grow(write, len(body))
        os.write(write, body)
        os.close(write)
        argv = [python, "-u", "-c", ENTRY.format(fd=read)]
        return spawn(argv, env, streams, cwd, (*pass_fds, read))
    finally:
        os.close(read)


def _grow(fd: int, size: int) -> None:
    """Make room for ``size`` bytes in a pipe, so that they can be written before it is read."""
    import fcntl

    if size > 60_000:
        fcntl.fcntl(fd, 1031, 1 << (size - 1).bit_length())  # F_SETPIPE_SZ


def decode_status(status: int) -> int:
    """A wait status as a number: the exit code, or minus the signal."""
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
