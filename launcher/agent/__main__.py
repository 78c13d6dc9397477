"""Guard and agent: two processes, each of which ends the run's processes when the other is gone."""

from __future__ import annotations

import os

from launcher.agent import health, limits
from launcher.agent.plain import SOCKET, signal, socket
from launcher.agent.server import Started, marker

TYPE_CHECKING = False  # as type checkers know it; importing typing would delay every start
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

# Where a run's private folder may be, best first: a variable's value, or a place of every machine.
PLACES = (
    ("TMPDIR", ""),
    ("", "/tmp"),
    ("XDG_RUNTIME_DIR", ""),
    ("", "/dev/shm"),
    ("", "/var/tmp"),
)
LONGEST_SOCKET = 107  # bytes of a unix socket's path, by the kernel


def guarded(config: dict[str, Any], sources: dict[str, Any]) -> int:
    """Fork the agent and wait for it; returns the guard's exit code.

    The agent learns of the guard's end by a pipe, never by a parent-death signal, so that it can
    still end its ranks in order.
    """
    _open_stderr()
    limits.raise_limit(limits.ENOUGH, config["soft_limit"])
    for name in ("python", "workdir"):
        config[name] = _at_home(config[name])
    try:
        folder = private_folder(os.environ)
    except OSError as error:
        os.write(2, f"{error}\n".encode("utf-8", "surrogateescape"))  # for the controller
        return 1
    alive_read, alive_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(alive_write)
        code = 1
        try:
            code = _run_agent(config, sources, alive_read, folder)
        except BaseException:
            import traceback

            traceback.print_exc()
            raise
        finally:
            os._exit(code)
    os.close(alive_read)
    try:
        return _guard(pid, marker(config["job_id"], config["node_rank"]))
    finally:
        _remove(folder)


def _open_stderr() -> None:
    """A login shell may have closed it: the next file would have its number, and our errors."""
    try:
        os.fstat(2)
    except OSError:
        while os.open(os.devnull, os.O_RDWR) < 2:
            pass


def _at_home(path: str) -> str:
    """``~`` and ``~user`` are homes of this machine."""
    return os.path.expanduser(path) if path.startswith("~") else path


def private_folder(environ: Mapping[str, str]) -> str:
    """Make a folder of our own in which a socket can be. Raises OSError if there is no place.

    Made by hand: the tempfile module takes long to import, and the start waits for this.
    """
    problems = []
    for variable, place in PLACES:
        parent = environ.get(variable, "") if variable else place
        if not parent.startswith("/"):
            continue
        folder = f"{parent.rstrip('/')}/plaunch-{os.urandom(8).hex()}"
        if len(os.fsencode(f"{folder}/{SOCKET}")) > LONGEST_SOCKET:
            problems.append(f"{parent} is too long for a socket")
            continue
        try:
            os.mkdir(folder, 0o700)
        except OSError as error:
            problems.append(f"{parent}: {error.strerror}")
            continue
        try:
            _try_socket(f"{folder}/{SOCKET}")
        except OSError as error:  # not every file system has them
            problems.append(f"{parent}: no socket can be there: {error.strerror or error}")
            os.rmdir(folder)
            continue
        return folder
    raise OSError(f"no folder for the run's socket (TMPDIR can name one): {'; '.join(problems)}")


def _try_socket(path: str) -> None:
    line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        line.bind(path)
        os.unlink(path)
    finally:
        line.close()


def _remove(folder: str) -> None:
    try:
        for name in os.listdir(folder):
            os.unlink(os.path.join(folder, name))
        os.rmdir(folder)
    except OSError:  # something that is none of ours
        import shutil

        shutil.rmtree(folder, ignore_errors=True)


def _run_agent(config: dict[str, Any], sources: dict[str, Any], guard: int, folder: str) -> int:
    os.setsid()
    started = Started(config, sources)  # first of all: importing torch is what takes long
    from launcher.agent.agent import Agent

    health.become_subreaper()
    return Agent(config, sources, guard, folder, started).run()


def _guard(agent: int, mark: str) -> int:
    for fd in (0, 1):
        os.close(fd)  # the stream's end must be seen when the agent ends
        os.open(os.devnull, os.O_RDWR)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def pass_on(number: int, _: object) -> None:
        if os.path.exists(f"/proc/{agent}"):
            os.kill(agent, number)

    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, pass_on)  # a scheduler may signal none but the process it started
    health.become_subreaper()
    status = None
    while status is None:
        pid, found = os.waitpid(-1, 0)
        if pid == agent:
            status = found
    health.sweep(mark, reap=health.reap)
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)
