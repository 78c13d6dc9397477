"""The fork server: imports torch once a node, then every rank is a fork of it.

Its source runs as ``python -u -c`` in the user's own environment, never isolated, and talks to the
agent over a socket pair: JSON frames, with a rank's standard streams as file descriptors beside
them. A forked rank leaves :func:`serve`, and the interpreter runs its program as its last act, so
that it ends by unwinding as any interpreter does (atexit, threads, exit code).
"""

from __future__ import annotations

# ruff: noqa: E402 - BASELINE must be taken before anything else is imported
import sys

# What a fresh interpreter holds: a program's own module of such a name would not win there either.
BASELINE = frozenset(sys.modules)

import contextlib
import gc
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # one name space with ours
    from launcher.agent.ranks.torch_parts import COMPILER, find_torch, store_on

HELD = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP)
# By its name: the launcher knows nothing else of the engine.
WITHOUT_COMPILER = "engine.runtime.torch_internals.late_dynamo"
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class Line:
    """Frames over the socket pair; a frame's file descriptors come with its first byte."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._data = b""
        self._fds: list[int] = []

    def send(self, message: dict[str, Any]) -> None:
        """Send one frame."""
        body = json.dumps(message).encode("ascii")
        self.sock.sendall(len(body).to_bytes(4, "big") + body)

    def has_frame(self) -> bool:
        """Whether a whole frame is here already: it came with the one before."""
        return len(self._data) >= 4 + int.from_bytes(self._data[:4], "big")

    def receive(self) -> tuple[dict[str, Any], list[int]] | None:
        """Wait for one frame; None when the agent has gone."""
        while not self.has_frame():
            data, fds, _, _ = socket.recv_fds(self.sock, 65536, 8)
            if not data:
                return None
            self._data += data
            self._fds += fds
        size = int.from_bytes(self._data[:4], "big")
        message = json.loads(self._data[4 : 4 + size])
        self._data = self._data[4 + size :]
        fds, self._fds = self._fds[: message["fds"]], self._fds[message["fds"] :]
        return message, fds

    def close(self) -> None:
        """In a fork: what is left here belongs to the server and to other ranks."""
        for fd in self._fds:
            os.close(fd)
        self.sock.close()


def no_engine() -> str | None:
    """Why an import of ``engine`` would not find ours, without importing it; None if it would."""
    import importlib.util

    spec = importlib.util.find_spec("engine")
    if spec is None:
        return "is not installed"
    folder = os.path.dirname(spec.origin or "")
    if os.path.isdir(os.path.join(folder, "compat")):
        return None
    return f"is hidden by {spec.origin or 'a folder of that name'}"


def get_ready(line: Line, modules: list[str], compiler: str, directory: str | None) -> None:
    """Import what the ranks shall find imported, and tell the agent."""
    if compiler != "given up":
        found = {"torch": find_torch(), "no_engine": no_engine(), "python": sys.version.split()[0]}
        line.send({"op": "found", **found})
    start = time.monotonic()
    problem = preload(modules)
    if not problem and modules and wants(compiler):
        before = collisions(directory) if directory else []
        if preload([COMPILER]) or (directory and collisions(directory) != before):
            begin_anew(line.sock, modules)
    line.send({"op": "ready", "problem": problem, "seconds": time.monotonic() - start})
    gc.freeze()  # keeps the collector from writing to (and so copying) the shared pages


def wants(compiler: str) -> bool:
    """Whether the ranks will import torch's compiler: they then find it imported."""
    return compiler == "unless the engine does without" and not engine_does_without()


def engine_does_without() -> bool:
    """Whether our engine trains on this torch without the compiler: a fork tries it."""
    pid = os.fork()
    if pid == 0:
        try:
            __import__(WITHOUT_COMPILER)
            os._exit(0 if sys.modules[WITHOUT_COMPILER].suffices() else 1)
        finally:
            os._exit(1)
    return os.waitpid(pid, 0)[1] == 0


def begin_anew(sock: socket.socket, modules: list[str]) -> None:
    """Be a fork server from the start, without the compiler: with it ranks could not be forks."""
    from types import ModuleType

    main: ModuleType = sys.modules["__main__"]
    serve = f"order = serve(_socket.socket(fileno={sock.fileno()}), {modules!r}, 'given up')"
    *sources, last = main.sources
    last = b"\n".join(
        serve.encode() if row.startswith(b"order = serve(") else row for row in last.split(b"\n")
    )
    fd = os.memfd_create("plaunch-sources", 0)  # open across exec
    os.write(fd, b"\0".join([*sources, last]))
    os.lseek(fd, 0, os.SEEK_SET)
    os.set_inheritable(sock.fileno(), True)
    entry = sys.orig_argv[-1].replace(f"given = {main.given}", f"given = {fd}")
    os.execv(sys.executable, [sys.executable, "-u", "-c", entry])


def preload(modules: list[str]) -> str | None:
    """Import the modules with one thread each; the reason why forking is not safe, or None."""
    threads = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
    gc.disable()
    try:
        with no_source_lines():
            for name in modules:
                __import__(name)
    except BaseException as error:  # whatever it is, a cold start will show it
        return f"importing {name} failed: {type(error).__name__}: {error}"
    finally:
        gc.enable()
        for name, value in threads.items():
            os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)
    tasks = len(os.listdir("/proc/self/task"))
    if tasks != 1:
        return f"{tasks} threads are running after importing {', '.join(modules)}"
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/self/fd/{fd}").startswith("/dev/nvidia"):
                return "the GPU driver was opened by an import"
    return None


@contextlib.contextmanager
def no_source_lines() -> Iterator[None]:
    """While torch is imported, tell it the place of a frame without reading the source there.

    It notes file and line of each of its operators, and the standard way to ask for them also looks
    the source up, which nobody wants and which is a fifteenth of the import.
    """
    import inspect

    original = inspect.getframeinfo

    def place_only(frame: Any, context: int = 1) -> Any:
        return original(frame, context=0)

    inspect.getframeinfo = place_only
    try:
        yield
    finally:
        inspect.getframeinfo = original


def collisions(directory: str) -> list[str]:
    """Modules of the program's own folder whose names are taken by what was preloaded."""
    names = set()
    with contextlib.suppress(OSError):
        for entry in os.scandir(directory):
            stem, dot, suffix = entry.name.partition(".")
            if suffix == "py" or (not dot and entry.is_dir()):
                names.add(stem)
    taken = {name for name in sys.modules if "." not in name} - BASELINE
    return sorted(name for name in names & taken if not _is_there(name, directory))


def _is_there(name: str, directory: str) -> bool:
    """Whether the preloaded module is the program's own, or an empty folder that would not win."""
    origin = getattr(sys.modules[name], "__file__", None)
    if origin and os.path.dirname(os.path.abspath(origin)).startswith(os.path.abspath(directory)):
        return True
    here = os.path.join(directory, name)
    return not os.path.exists(here + ".py") and not os.path.exists(
        os.path.join(here, "__init__.py")
    )


def serve(
    sock: socket.socket, modules: list[str], compiler: str, directory: str | None = None
) -> dict[str, Any] | None:
    """Answer the agent until it goes (None), or return in a fork with what that fork shall do.

    ``compiler`` says when torch's compiler is imported with the modules: "never" and so on, or
    "given up" in a server that has begun anew without it. ``directory`` is the program's.
    """
    outlive_signals()
    line = Line(sock)
    os.set_inheritable(sock.fileno(), False)  # its end is how the agent sees ours
    get_ready(line, modules, compiler, directory)
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    os.set_blocking(wake_read, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    import select

    while True:
        timeout_s = 0 if line.has_frame() else None
        readable, _, _ = select.select([sock.fileno(), wake_read], [], [], timeout_s)
        if wake_read in readable:
            with contextlib.suppress(BlockingIOError):
                os.read(wake_read, 4096)
            _reap(line)
        if sock.fileno() not in readable and not line.has_frame():
            continue
        received = line.receive()
        if received is None:
            return None
        order, fds = received
        clash = collisions(order["directory"]) if order.get("directory") else []
        if clash:
            line.send({"op": "refused", "id": order["id"], "clash": clash})
        elif (pid := fork_with_signals_held()) == 0:
            for fd in (wake_read, wake_write):
                os.close(fd)
            line.close()
            become_rank(order, fds)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD)
            return order
        else:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD)
            line.send({"op": "forked", "id": order["id"], "pid": pid})
        for fd in fds:
            os.close(fd)


def outlive_signals() -> None:
    """A run's signals may reach all its processes; the agent alone ends server and store."""
    for number in HELD:
        signal.signal(number, signal.SIG_IGN)


def fork_with_signals_held() -> int:
    """Fork so that a signal sent to the rank at once waits until it is a rank of its own."""
    signal.pthread_sigmask(signal.SIG_BLOCK, HELD)
    return os.fork()


def _reap(line: Line) -> None:
    while True:
        try:
            pid, status, used = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        line.send({"op": "exited", "pid": pid, "status": status, "peak": used.ru_maxrss})


def become_rank(order: dict[str, Any], fds: list[int]) -> None:
    """In the fork: everything that a fresh interpreter would have of its own."""
    parent = os.getppid()
    signal.set_wakeup_fd(-1)
    # Python's own faulthandler stays where the user has asked for it.
    kept = [signal.SIGKILL, signal.SIGSTOP, signal.SIGPIPE, signal.SIGXFSZ, *caught_by_fault()]
    for number in (*range(1, signal.SIGSYS + 1),):
        if number not in kept:
            with contextlib.suppress(OSError, ValueError):
                signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if order["kind"] == "store":
        outlive_signals()
    os.setsid()
    import ctypes

    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(1)
    for target, fd in enumerate(fds[:3]):
        os.dup2(fd, target)
        os.close(fd)
    if len(fds) > 3:
        order["pickled_fd"] = fds[3]
    os.environ.update(order["env"])
    if order["cwd"]:
        os.chdir(order["cwd"])
    fresh_entropy()
    set_threads()


def caught_by_fault() -> tuple[int, ...]:
    """The signals of a crash, if a stack is printed for them: by the environment, or a preload."""
    import faulthandler

    crashes = (signal.SIGSEGV, signal.SIGFPE, signal.SIGABRT, signal.SIGBUS, signal.SIGILL)
    return crashes if faulthandler.is_enabled() else ()


def fresh_entropy() -> None:
    """Random state of its own, as a fresh interpreter has; a fork would share the server's."""
    import random

    random.seed()
    numpy, torch = sys.modules.get("numpy.random"), sys.modules.get("torch")
    sympy = sys.modules.get("sympy.core.random")  # comes with torch's compiler
    if numpy is not None:  # numpy itself loads it only when it is used, and then freshly seeded
        numpy.seed()
    if sympy is not None:
        sympy.seed(None)
    if torch is not None:
        torch.default_generator.seed()
    process = sys.modules.get("multiprocessing.process")
    if process is not None:
        current = process.current_process()
        current.authkey = os.urandom(32)


def set_threads() -> None:
    """Thread pools of the size that the variables ask for: the imports read them as one."""
    torch = sys.modules.get("torch")
    wanted = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    if torch is not None:
        count = int(wanted) if wanted.isdigit() else len(os.sched_getaffinity(0))
        if count != torch.get_num_threads():
            torch.set_num_threads(count)
    count_blas = os.environ.get("OPENBLAS_NUM_THREADS", wanted)
    count = int(count_blas) if count_blas.isdigit() else len(os.sched_getaffinity(0))
    if "numpy" in sys.modules and count > 1:
        set_openblas_threads(count)


def set_openblas_threads(count: int) -> None:
    """numpy's OpenBLAS, if that is what it came with."""
    import ctypes

    with contextlib.suppress(OSError), open("/proc/self/maps") as maps:
        paths = {row.split()[-1] for row in maps if "openblas" in row}
        for path in paths:
            library = ctypes.CDLL(path)
            for prefix in ("", "scipy_"):
                for suffix in ("", "64_", "_64"):
                    change = getattr(library, f"{prefix}openblas_set_num_threads{suffix}", None)
                    if change is not None:
                        change(count)


def door_code(order: dict[str, Any]) -> Any:
    """The door's code: our agent's own, which has compiled it where it runs the same Python."""
    if "door" in order:
        return compile(order["door"], "<plaunch.door>", "exec")
    import binascii
    import marshal

    return marshal.loads(binascii.a2b_base64(order["door_code"]))


def host_store(order: dict[str, Any]) -> None:
    """Be the attempt's TCPStore, behind the door on the agent's socket; ends by signal."""
    outlive_signals()
    space: dict[str, Any] = {"__name__": "plaunch.door"}
    exec(door_code(order), space)
    front, word = socket.socket(fileno=order["pickled_fd"]), order["word"]
    _store, door = space["served"](front, store_on, word.encode() if word else None)
    os.write(1, (door.lacks or "").encode())
    os.close(1)  # nothing more is to be said
    door.thread.join()
