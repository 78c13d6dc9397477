"""Python programs of tests, forked from a process that has imported torch.

Most of what a small program costs is the import of torch: a second for each. One server for the
whole test session imports it once and forks a process for every program, which then is what
``python WORDS`` would be: a process with its own environment, folder, standard streams, arguments,
random state and ``__main__``, that ends by unwinding the interpreter. test_forkserver.py compares
the two. What needs options of python itself, other interpreters, or a parent of its own is
started with `subprocess` as ever.
"""

from __future__ import annotations

import array
import atexit
import contextlib
import functools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

PRELOAD = ("torch", "torch.distributed", "torch.utils.data")
RUNPY = "<frozen runpy>"  # the frames of `python -m`
ANSWER_S = 60.0  # until a program has been forked: the server's import of torch comes first


class Program:
    """A program that was started; it has of `subprocess.Popen` what tests use."""

    def __init__(self, words: Sequence[str], status: int, streams: tuple[IO[bytes], ...]) -> None:
        self.args = [sys.executable, *words]
        self.returncode: int | None = None
        self._status, self._streams, self._said = status, streams, b""
        self.pid = int(self._line(ANSWER_S))

    def _line(self, timeout: float | None) -> bytes:
        """What the server says next: the process id, then how it ended."""
        give_up = None if timeout is None else time.monotonic() + timeout
        while b"\n" not in self._said:
            left = None if give_up is None else max(0.0, give_up - time.monotonic())
            if not select.select([self._status], [], [], left)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
            data = os.read(self._status, 100)
            if not data:
                raise RuntimeError("the tests' fork server ended before the program did")
            self._said += data
        line, _, self._said = self._said.partition(b"\n")
        return line

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end; returns the exit code, or the signal's number below zero."""
        if self.returncode is None:
            self.returncode = int(self._line(timeout))
            os.close(self._status)
        return self.returncode

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.wait(0)
        return None

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for the end; returns what it printed to standard output and standard error."""
        self.wait(timeout)
        texts = []
        for file in self._streams:
            file.seek(0)
            texts.append(file.read().decode())
        return texts[0], texts[1]

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)


@functools.cache
def shared() -> ForkServer:
    """The server of this test session; it ends with it."""
    server = ForkServer()
    atexit.register(server.close)
    return server


class ForkServer:
    """Starts programs. The server itself is started with the first, and ends with this process."""

    def __init__(self) -> None:
        self._sock: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def start(
        self,
        words: Sequence[str],
        cwd: Path | str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Program:
        """Start ``python words``: a script, ``-m module`` or ``-c text``, and its arguments."""
        if self._sock is None:
            self._open()
        assert self._sock is not None
        order = {
            "words": [str(word) for word in words],
            "cwd": str(cwd or os.getcwd()),
            "env": dict(os.environ if env is None else env),
        }
        with tempfile.TemporaryFile() as file:
            file.write(json.dumps(order).encode())
            file.seek(0)
            # The program's output; closed with the Program.
            streams = (tempfile.TemporaryFile(), tempfile.TemporaryFile())  # noqa: SIM115 - see above
            read, write = os.pipe()
            fds = [file.fileno(), write, *(stream.fileno() for stream in streams)]
            try:
                rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))
                self._sock.sendmsg([b"p"], [rights])
            finally:
                os.close(write)
        return Program(order["words"], read, streams)

    def run(
        self, words: Sequence[str], timeout: float = 120.0, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run ``python words`` to its end; raises TimeoutExpired when it is not there in time."""
        program = self.start(words, **options)
        try:
            out, err = program.communicate(timeout)
        finally:
            program.kill()
        return subprocess.CompletedProcess(program.args, program.wait(ANSWER_S), out, err)

    def _open(self) -> None:
        self._sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # What a program's own environment says is read by the program; none of it by the server.
        env = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(theirs.fileno())],
            cwd="/",
            env={**env, "OMP_NUM_THREADS": "1"},
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
        )
        theirs.close()

    def close(self) -> None:
        """End the server, and with it whatever is left of its programs."""
        if self._sock is not None and self._process is not None:
            self._sock.close()
            self._process.wait(ANSWER_S)
            self._sock = None


# -- in the server, which is this very file as a script: nothing of the tests is imported there


def serve(sock: socket.socket) -> dict[str, Any] | None:
    """Fork programs until the tests end (None); returns in each fork with what it shall run."""
    programs: dict[int, int] = {}
    woken, wake = os.pipe()
    for fd in (woken, wake):
        os.set_blocking(fd, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the tests, which end us
    while True:
        ready = select.select([sock, woken], [], [])[0]
        if woken in ready:
            os.read(woken, 4096)
            for pid in list(programs):
                if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                    _tell(programs.pop(pid), code)
        if sock not in ready:
            continue
        data, fds, _, _ = socket.recv_fds(sock, 16, 4)
        if not data:
            for pid, status in programs.items():
                os.kill(pid, signal.SIGKILL)
                _tell(status, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
            return None
        server = os.getpid()
        pid = os.fork()
        if pid == 0:
            for fd in (woken, wake, sock.fileno(), *programs.values()):
                os.close(fd)
            order, status, *streams = fds
            os.close(status)
            _own_process(server, streams)
            with open(order) as file:
                return dict(json.load(file))
        _tell(fds[1], pid)
        programs[pid] = fds[1]
        for fd in (fds[0], *fds[2:]):
            os.close(fd)


def _tell(fd: int, number: int) -> None:
    with contextlib.suppress(BrokenPipeError):
        os.write(fd, f"{number}\n".encode())


def _own_process(server: int, streams: Sequence[int]) -> None:
    import ctypes

    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG
    if os.getppid() != server:
        os._exit(1)
    for target, fd in enumerate(streams, 1):
        os.dup2(fd, target)
        os.close(fd)


def become(order: dict[str, Any]) -> None:
    """In the fork: all that a fresh interpreter would have of its own."""
    import random

    words: list[str] = order["words"]
    os.environ.clear()
    os.environ.update(order["env"])
    os.chdir(order["cwd"])
    random.seed()
    for name in ("numpy.random", "torch.random"):
        if name in sys.modules:
            sys.modules[name].seed()
    sys.modules["multiprocessing.process"].current_process().authkey = os.urandom(32)
    threads = os.environ.get("OMP_NUM_THREADS", "")
    sys.modules["torch"].set_num_threads(int(threads or len(os.sched_getaffinity(0))))
    if os.environ.get("PYTHONUNBUFFERED"):
        sys.stdout.reconfigure(write_through=True)
    first = {"-c": "", "-m": order["cwd"]}.get(words[0], os.path.dirname(os.path.abspath(words[0])))
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:] = [first, *paths, *sys.path[1:]]  # the server's own first one is this folder
    sys.path_importer_cache.clear()
    sys.orig_argv[:] = [sys.executable, *words]
    sys.argv[:] = words[1:] if words[0] == "-m" else words


def run(words: list[str]) -> None:
    """Be the program, in a ``__main__`` that is its own."""
    main = type(sys)("__main__")
    main.__dict__["__builtins__"] = __builtins__
    sys.modules["__main__"] = main
    if words[0] == "-m":
        import runpy

        sys.argv[0] = "-m"
        # What `python -m` itself calls.
        runpy._run_module_as_main(words[1], alter_argv=True)  # type: ignore[attr-defined]
        return
    if words[0] == "-c":
        source, name = words[1].encode(), "<string>"
        del sys.argv[1]
    else:
        name = os.path.abspath(words[0])
        source = Path(name).read_bytes()
        main.__dict__.update(__file__=name, __cached__=None)
    exec(compile(source, name, "exec", dont_inherit=True), main.__dict__)


def show_frames_of_program() -> None:
    """Let the traceback that python is about to print begin in the program."""
    hook = sys.excepthook

    def begin_in_program(kind: Any, error: BaseException, trace: Any) -> None:
        while trace is not None and trace.tb_frame.f_code.co_filename in (__file__, RUNPY):
            trace = trace.tb_next
        hook(kind, error.with_traceback(trace), trace)

    sys.excepthook = begin_in_program


def main() -> dict[str, Any] | None:
    """Import what all programs share, and serve."""
    import importlib

    for name in PRELOAD:
        importlib.import_module(name)
    assert len(os.listdir("/proc/self/task")) == 1, "a thread runs: forking is not safe"
    import gc

    gc.collect()
    gc.freeze()
    return serve(socket.socket(fileno=int(sys.argv[1])))


if __name__ == "__main__":
    _order = main()
    if (
        _order is not None
    ):  # a fork; it runs here so that the interpreter's own end is the program's
        become(_order)
        try:
            run(_order["words"])
        except BaseException:
            show_frames_of_program()
            raise
