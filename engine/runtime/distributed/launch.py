"""Starting the other local ranks: the way of a script that asks for several and was started alone.

    python train.py        # with Trainer(devices=2, ...)

This process is rank zero then. The others are the same command once more, with torchrun's
variables set; they come to the same fit by themselves. None of them outlives rank zero, and none
that fails is waited for.
"""

from __future__ import annotations

import atexit
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from types import FrameType, TracebackType
from typing import Any

import torch

from engine.runtime.coordination.signals import preemption
from engine.runtime.distributed import door
from engine.runtime.distributed.world import OF_ENGINE, World, rank_zero_warn
from engine.runtime.errors import MisconfigurationException
from engine.runtime.torch_internals.torch_parts import store_on

GRACE_S = 5.0  # of rank zero, once another rank has failed: to see it by itself, and to clean up
BLAME_S = 2.0  # until the failure is known that broke a connection
SAY_AFTER_S = 10.0
LOOK_EVERY_S = 0.1
PREEMPTED = 75

_STARTED_IN = os.getcwd()  # a program may go elsewhere before it comes to its fit

# The kernel ends a child with the thread that made it. It has to be asked for in the child, and
# before it becomes the program.
_BOOT = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""

_others: Others | None = None
_store: HostedStore | None = None
_ran_alone = False
_follows = False  # this is a rank that was started so


class Others:
    """The ranks that this process started, and what becomes of them."""

    def __init__(self, processes: Mapping[int, subprocess.Popen[bytes]]) -> None:
        self._processes = processes
        self._over = threading.Event()
        self._told = False
        self.joined = False
        self.failed: tuple[int, int] | None = None  # rank and exit code
        threading.Thread(target=self._watch, name="engine-ranks", daemon=True).start()

    def _watch(self) -> None:
        while not self._over.wait(LOOK_EVERY_S):
            if preemption.signal is not None and not self._told:
                self._told = True
                self._signal(signal.Signals[preemption.signal])
            self.failed = self._look()
            if self.failed is not None:
                break
        # Before the ranks have met, rank zero only waits for them.
        if self.failed is not None and not self._over.wait(GRACE_S if self.joined else 0.0):
            sys.stderr.write(f"engine: {self.blame()}: rank 0 ends, too\n")
            self.kill()
            end_now(self.exit_code())

    def _look(self) -> tuple[int, int] | None:
        for rank, process in self._processes.items():
            code = process.poll()
            is_early = code == 0 and not self.joined
            makes_room = code == PREEMPTED and preemption.signal is not None
            if code is not None and (code or is_early) and not makes_room:
                return rank, code
        return None

    def blame(self) -> str:
        """Which rank failed, and how."""
        assert self.failed is not None
        rank, code = self.failed
        if code == 0:
            return f"rank {rank} came to the end of the script and not to the fit of rank 0"
        if code < 0:
            return f"rank {rank} was ended by {signal.Signals(-code).name}"
        return f"rank {rank} failed with exit code {code}, its error is above"

    def exit_code(self) -> int:
        """The exit code that the failure of another rank gives rank zero."""
        assert self.failed is not None
        code = self.failed[1]
        return 128 - code if code < 0 else code or 1

    def failed_by_now(self) -> bool:
        """Whether another rank has failed; waits a little, as a broken connection is seen first."""
        give_up = time.monotonic() + BLAME_S
        while self.failed is None and time.monotonic() < give_up:
            self.failed = self._look()
            time.sleep(LOOK_EVERY_S / 10)
        return self.failed is not None

    def _signal(self, number: int) -> None:
        for process in self._processes.values():
            if process.poll() is None:
                process.send_signal(number)

    def kill(self) -> None:
        """End all at once: rank zero has failed, they could only fail after it."""
        self._over.set()
        self._signal(signal.SIGKILL)

    def wait(self) -> None:
        """Rank zero is at its end: the others may take their time to get there."""
        if self._over.is_set():
            return
        say_at = time.monotonic() + SAY_AFTER_S
        for rank, process in self._processes.items():
            while process.poll() is None and self.failed is None:
                time.sleep(LOOK_EVERY_S / 10)
                if time.monotonic() > say_at:
                    say_at = float("inf")
                    sys.stderr.write(f"engine: rank 0 is done and waits for rank {rank}\n")
        self.failed = self.failed or self._look()
        self._over.set()
        if self.failed is not None:
            sys.stderr.write(f"engine: {self.blame()}\n")
            self.kill()
            end_now(self.exit_code())


def end_now(code: int) -> None:
    """End this process, whatever its main thread waits for."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


def start_others(world: World) -> None:
    """Start the other ranks of a world on this machine, unless that was done before."""
    global _others, _store
    command = own_command()
    assert _others is None, "the other ranks are there already"
    if _ran_alone:
        raise MisconfigurationException(
            f"this process has run something alone before, and now a Trainer asks for "
            f"{world.world_size} processes: they would run it, too. Give all Trainers of a script "
            f"the same number of devices, or start it with `{launch_command(world.world_size)}`"
        )
    listening = socket.create_server(("127.0.0.1", 0))
    common = variables(world.world_size, listening.getsockname()[1], f"{OF_ENGINE}{os.getpid()}")
    _store = HostedStore(listening)
    if "OMP_NUM_THREADS" in common:
        torch.set_num_threads(int(common["OMP_NUM_THREADS"]))
    os.environ.update(common)
    _others = Others({rank: _start(command, rank) for rank in range(1, world.world_size)})
    os.environ.update(RANK="0", LOCAL_RANK="0")
    sys.excepthook = _after_error(sys.excepthook, _others)
    atexit.register(_others.wait)


class HostedStore:
    """The store at which the ranks of this machine meet; its other users can't reach it."""

    def __init__(self, listening: socket.socket) -> None:
        self._door: door.Door | None = None
        if sys.platform == "linux":
            self._store, self._door = door.served(listening, store_on)
            if self._door.lacks:
                rank_zero_warn(
                    "other users of this machine can reach the store at which the ranks meet: "
                    f"{self._door.lacks}"
                )
        else:
            self._store = store_on(*listening.getsockname()[:2], listening.fileno())

    def close(self) -> None:
        """Host it no more."""
        self._store = None
        if self._door is not None:
            self._door.close()


def _start(command: list[str], rank: int) -> subprocess.Popen[bytes]:
    """Another rank; what it writes to stdout is what rank zero writes there, and left out."""
    is_main = threading.current_thread() is threading.main_thread()
    if sys.platform == "linux" and is_main:
        boot = [sys.executable, "-I", "-S", "-c", _BOOT, str(os.getpid())]
        command = [*boot, *command]
    return subprocess.Popen(
        command,
        env={**os.environ, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        cwd=_STARTED_IN,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )


def variables(world_size: int, port: int, run_id: str) -> dict[str, str]:
    """torchrun's variables that all ranks of this machine have alike."""
    common = {
        "WORLD_SIZE": str(world_size),
        "LOCAL_WORLD_SIZE": str(world_size),
        "GROUP_RANK": "0",
        "GROUP_WORLD_SIZE": "1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "TORCHELASTIC_RESTART_COUNT": "0",
        "TORCHELASTIC_MAX_RESTARTS": "0",
        "TORCHELASTIC_RUN_ID": run_id,
    }
    if "OMP_NUM_THREADS" not in os.environ:
        common["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // world_size))
    if sys.platform == "linux" and "GLOO_SOCKET_IFNAME" not in os.environ:
        common["GLOO_SOCKET_IFNAME"] = "lo"
    return common


def all_joined() -> None:
    """All ranks have met: from now on one that comes to its end before rank zero is no failure."""
    if _others is not None:
        _others.joined = True


def note_alone() -> None:
    """This process runs something as the only one."""
    global _ran_alone
    _ran_alone = True


def follow_quietly() -> None:
    """In a rank that was started so: Ctrl-C is for all ranks, and shown by rank zero."""
    global _follows
    if _follows:
        return
    _follows, previous = True, sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not issubclass(kind, KeyboardInterrupt):
            previous(kind, error, trace)

    sys.excepthook = hook


def _after_error(previous: Any, others: Others) -> Any:
    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, RuntimeError) and others.failed_by_now():
            sys.stderr.write(f"engine: {others.blame()}. Rank 0 saw it as {kind.__name__}\n")
        else:
            previous(kind, error, trace)
        others.kill()

    return hook


# ---------------------------------------------------------------------- the command


def why_no_script() -> str | None:
    """Why this process's command can't be run again, in words that follow "and"; None if it can."""
    main = sys.modules.get("__main__")
    file = getattr(main, "__file__", None) or ""
    if hasattr(sys, "ps1") or "__IPYTHON__" in vars(sys.modules["builtins"]):
        return "this is an interactive session or a notebook"
    if sys.argv[:1] == ["-c"]:
        return "this program is the text after `python -c`"
    if file == "<stdin>":
        return "this program came from standard input"
    if not file:
        return "this program has no file of its own"
    if _is_a_test(file):
        return "this is a test, and would run all tests again"
    if _is_a_child():
        return "this is a process that multiprocessing started"
    return None


def own_command() -> list[str]:
    """The command that this process was started with; raises where it can't be run again."""
    why = why_no_script()
    if why is not None:
        raise MisconfigurationException(
            "several processes are asked for, which are the same script once more, and "
            f"{why}. A Trainer's fit, validate, test and predict have ranks there, too; for "
            "this put the code into a file and start it with `python file.py`, plaunch or "
            "torchrun; or ask for one device"
        )
    return [sys.executable, *sys.orig_argv[1:]]


def _is_a_test(file: str) -> bool:
    """Whether pytest or unittest runs this, started in any way."""
    if os.path.basename(file) in ("pytest", "py.test"):
        return True
    if file.endswith(("pytest/__main__.py", "unittest/__main__.py")):
        return True
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_globals.get("__name__") != "_pytest.runner":
        frame = frame.f_back
    return frame is not None


def _is_a_child() -> bool:
    multiprocessing = sys.modules.get("multiprocessing.process")
    return multiprocessing is not None and multiprocessing.parent_process() is not None


def launch_command(per_node: int | str, num_nodes: int = 1, word: str = "--procs") -> str:
    """The words that start this script with plaunch."""
    on_nodes = ["--nodes", str(num_nodes)] if num_nodes > 1 else []
    typed = sys.orig_argv
    at = typed.index("engine.compat") if "engine.compat" in typed[:-1] else 0
    compat = ["--compat", typed[at + 1]] if at and typed[at - 1] == "-m" else []
    return shlex.join(["plaunch", *on_nodes, word, str(per_node), *compat, *_script()])


def _script() -> list[str]:
    """This script and its arguments, as a person would type them."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    arguments = sys.argv[1:]
    if spec is not None:
        return ["-m", spec.name.removesuffix(".__main__"), *arguments]
    first = sys.argv[0] if sys.argv and sys.argv[0] not in ("", "-c", "-") else "script.py"
    return [first, *arguments]
