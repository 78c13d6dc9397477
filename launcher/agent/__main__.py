"""Guard and agent: two processes, each of which ends the run's processes when the other is gone.

They are started here, in a private folder. What the agent does is in agent.py.
"""

from __future__ import annotations

import os
import select
import time

from launcher.agent.forkserver.client import Started, marker
from launcher.agent.lowlevel import SOCKET, signal, socket, suppress
from launcher.agent.node import cleanup, limits
from launcher.agent.node.pulse import Pulse

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
    still end its ranks in order. The other way there is a pulse: an agent that hangs is ended.
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
    pulse_read, pulse_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(alive_write)
        os.close(pulse_read)
        os.set_blocking(pulse_write, False)
        code = 1
        try:
            code = _run_agent(config, sources, (alive_read, pulse_write), folder)
        except BaseException:
            import traceback

            traceback.print_exc()
            raise
        finally:
            os._exit(code)
    for fd in (alive_read, pulse_write, config.get("stdin")):
        if fd is not None:
            os.close(fd)
    pulse = Pulse(config["silence_s"], time.monotonic())
    try:
        return _guard(pid, marker(config["job_id"], config["node_rank"]), pulse, pulse_read)
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
    """Only the folder that we made: a rank may have put a link in its place."""
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            for name in os.listdir(fd):
                os.unlink(name, dir_fd=fd)
        finally:
            os.close(fd)
        os.rmdir(folder)
    except OSError:  # something that is none of ours
        import shutil

        shutil.rmtree(folder, ignore_errors=True)  # which follows no link
        with suppress(OSError):
            os.unlink(folder)


def _run_agent(
    config: dict[str, Any], sources: dict[str, Any], guard: tuple[int, int], folder: str
) -> int:
    os.setsid()
    stdin = config.get("stdin")
    if stdin is not None:
        os.set_inheritable(stdin, False)  # the rank's alone
    started = Started(config, sources)  # first of all: importing torch is what takes long
    from launcher.agent import agent
    from launcher.agent.system import System

    cleanup.become_subreaper()
    return agent.run(config, sources, guard, folder, started, System())


def _guard(agent: int, mark: str, pulse: Pulse, pulse_fd: int) -> int:
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
    cleanup.become_subreaper()
    beat = select.poll()
    beat.register(pulse_fd, select.POLLIN)
    status = None
    while status is None:
        beats = os.read(pulse_fd, 4096) if beat.poll(1000) else b"-"
        status = _reap(agent, wait=not beats)  # the pipe's end is the agent's
        if status is None and pulse.has_stopped(beats.strip(b"-"), time.monotonic()):
            with suppress(OSError):  # the controller may be gone
                os.write(2, b"the agent hung and was ended\n")
            break
    cleanup.sweep(mark, reap=cleanup.reap)
    if status is None:
        return 128 + signal.SIGKILL
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def _reap(agent: int, *, wait: bool) -> int | None:
    """Collect children that have ended; returns the agent's status if it was among them."""
    with suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, 0 if wait else os.WNOHANG)
            if pid == agent:
                return status
            if pid == 0:
                break
    return None
