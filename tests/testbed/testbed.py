"""Several real hosts on one machine: own names, addresses, processes and files, a real sshd each.

    with Testbed(4) as bed:
        bed.run("host0", ["ssh", "host1", "hostname"]).wait()
        bed.crash(1)

Hosts are called host1 .. hostN (10.77.0.1 ..), and host0 (10.77.0.254) is the login host, from
which things are started. They hang on a switch of their own, so several testbeds can be up at
once, and nothing of this machine's own network is touched. A host sees the machine's software;
what it writes is private to it and lost when it crashes, but for /shared, which all hosts share.
Users are root and alice; each may log in from every host to every other by its ~/.ssh/id_ed25519.

Nothing outlives the process that made it: see box.py.
"""

import contextlib
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

_HERE = Path(__file__).parent
_PROJECT = _HERE.parent.parent
_PYTHON = [sys.executable, "-E", "-s", "-S", "-B"]  # only the standard library, started quickly
_NEEDED = {
    "sshd": "openssh-server",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "ip": "iproute2",
    "ping": "iputils-ping",
}
_SBIN = "/usr/local/sbin:/usr/sbin:/sbin"
_HOMES = {"root": "/root", "alice": "/home/alice"}
# What Slurm (slurm.py) needs on a host, as no part of any job; jobs run below a slurmstepd.
_DAEMONS = {"munged", "slurmctld", "slurmscriptd", "slurmd", "slurmdbd", "mariadbd"}


@dataclass(frozen=True)
class HostProcess:
    """A process on a host; ``host_pid`` is its number there, the others are as seen from here."""

    pid: int
    parent: int
    host_pid: int
    cmdline: tuple[str, ...]
    environ: Mapping[str, str] = field(repr=False)

    @property
    def program(self) -> str:
        """The name of its program, without the folder; empty if it told none."""
        words = self.cmdline[0].lstrip(" :").split() if self.cmdline else []
        return words[0].rpartition("/")[2].rstrip(":") if words else ""


class Testbed:
    """Several real hosts on one machine."""

    __test__ = False  # not a test class, whatever its name

    def __init__(self, num_hosts: int) -> None:
        self.num_hosts = num_hosts
        self._box: subprocess.Popen[str] | None = None
        self._pids: dict[int, int] = {}  # host number -> its process 1
        self._cut: set[int] = set()
        self._frozen: set[int] = set()
        self._started: list[subprocess.Popen[Any]] = []
        self._lock = threading.Lock()

    @staticmethod
    @functools.cache
    def missing() -> str | None:
        """Why this machine can't have a testbed, or None if it can."""
        if sys.platform != "linux":
            return "needs Linux"
        if os.geteuid() != 0:
            return "needs root"
        for program, package in _NEEDED.items():
            if shutil.which(program, path=f"{os.environ.get('PATH', '')}:{_SBIN}") is None:
                return f"needs {program} (Debian package {package})"
        try:
            with Testbed(0):
                return None
        except (OSError, RuntimeError) as error:
            return f"can't make hosts here: {str(error).strip().splitlines()[-1]}"

    def __enter__(self) -> "Testbed":
        self.up()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self.down()

    def up(self) -> None:
        """Bring up the switch and all hosts."""
        spec = {
            "num_hosts": self.num_hosts,
            "state": _free_mount_point(),
            "visible": _other_file_systems(),
            "reachable": _software(),
        }
        self._box = subprocess.Popen(
            [*_PYTHON, str(_HERE / "box.py"), str(os.getpid()), json.dumps(spec)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={"PATH": f"/usr/bin:/bin:{_SBIN}", "LANG": "C.UTF-8"},
            start_new_session=True,  # a Ctrl-C is for the owner
        )
        try:
            self._answer()
            for number in range(self.num_hosts + 1):
                self.boot(number)
        except BaseException:
            self.down()
            raise

    def down(self) -> None:
        """End all processes of all hosts; everything else goes with them. May be called twice."""
        box, self._box = self._box, None
        if box is None:
            return
        self._pids.clear()
        with box:  # closes the pipes: the box's sign to end
            assert box.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                box.stdin.close()
            try:
                box.wait(20)
            except subprocess.TimeoutExpired:
                box.kill()
        for process in self._started:
            process.wait(20)
        self._started.clear()

    # -- what can be done with a host; a host is given by its number or its name

    def run(
        self,
        host: int | str,
        argv: Sequence[str],
        *,
        user: str = "root",
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        **popen: Any,
    ) -> "subprocess.Popen[Any]":
        """Start a program on a host; signals reach it, and its exit code comes back.

        Nothing of the caller's environment travels, as with a login; ``env`` adds to it.
        """
        home = _HOMES[user]
        whole_env = {
            "PATH": f"{Path(sys.executable).parent}:{_SBIN}:/usr/local/bin:/usr/bin:/bin",
            "HOME": home,
            "USER": user,
            "LOGNAME": user,
            "SHELL": "/bin/bash",
            "LANG": "C.UTF-8",
            **(env or {}),
        }
        enter = [*_PYTHON, str(_HERE / "enter.py"), str(self._pid(host)), user, cwd or home]
        process = subprocess.Popen([*enter, *argv], env=whole_env, **popen)
        self._started = [one for one in self._started if one.poll() is None]
        self._started.append(process)
        return process

    def call(
        self, host: int | str, argv: Sequence[str], *, timeout_s: float = 60, **options: Any
    ) -> "subprocess.CompletedProcess[str]":
        """Run a program on a host to its end and return its exit code and output."""
        options = {"stdin": subprocess.DEVNULL, **options}
        pipe = subprocess.PIPE
        with self.run(host, argv, stdout=pipe, stderr=pipe, text=True, **options) as process:
            try:
                out, err = process.communicate(timeout=timeout_s)
            except BaseException:
                process.kill()
                raise
        return subprocess.CompletedProcess(list(argv), process.returncode, out, err)

    def crash(self, host: int | str) -> None:
        """Switch the host off: its processes die at once, and what it wrote is lost."""
        number = _number(host)
        del self._pids[number]
        self._frozen.discard(number)
        self._ask("crash", number)

    def boot(self, host: int | str) -> None:
        """Switch a crashed host on again, with its name, its address and its host key."""
        number = _number(host)
        self._pids[number] = self._ask("boot", number)
        self._cut.discard(number)

    def cut(self, host: int | str) -> None:
        """Cut the host's cable: nothing is closed, packets just don't arrive any more."""
        self._ask("cable", _number(host), "down")
        self._cut.add(_number(host))

    def heal(self, host: int | str) -> None:
        """Make the host's cable whole again."""
        self._ask("cable", _number(host), "up")
        self._cut.discard(_number(host))

    def freeze(self, host: int | str) -> None:
        """Stop all processes of the host; its kernel still answers pings."""
        self._frozen.add(_number(host))
        stopped: set[int] = set()
        while now := set(_pids_of(self._pid(host))) - stopped:  # until no new ones appear
            for pid in now:
                _signal(pid, signal.SIGSTOP)
            stopped |= now
        wait_until(lambda: all(_stands_still(pid) for pid in stopped), "all have stopped")

    def thaw(self, host: int | str) -> None:
        """Let the processes of a frozen host go on."""
        for pid in _pids_of(self._pid(host)):
            _signal(pid, signal.SIGCONT)
        self._frozen.discard(_number(host))

    def restore(self) -> None:
        """Boot, heal and thaw whatever is not as it was after `up`."""
        for number in sorted(self._frozen):
            self.thaw(number)
        for number in sorted(self._cut & self._pids.keys()):
            self.heal(number)
        for number in range(self.num_hosts + 1):
            if number not in self._pids:
                self.boot(number)

    def processes(self, host: int | str) -> list[HostProcess]:
        """The host's processes but for its process 1 and its daemons; none if it is down."""
        return [one for one in self._all_processes(host) if not _is_of_the_host(one)]

    def daemons(self, host: int | str) -> list[HostProcess]:
        """The host's sshd and what Slurm needs on it; none if it is down."""
        return [one for one in self._all_processes(host) if _is_of_the_host(one)]

    def address(self, host: int | str) -> str:
        """The host's address in the testbed's own network."""
        return f"10.77.0.{_number(host) or 254}"

    def path(self, host: int | str) -> Path:
        """The host's root folder, from outside. (Don't resolve(): it is a link with magic.)"""
        return Path(f"/proc/{self._pid(host)}/root")

    @property
    def shared(self) -> Path:
        """The folder that all hosts see as /shared, from outside; it outlives their crashes."""
        return Path(f"/proc/{self._pid(0)}/root/shared")

    # -- inside

    def _all_processes(self, host: int | str) -> list[HostProcess]:
        number = _number(host)
        if number not in self._pids:
            return []
        found = (_look_at(pid) for pid in _pids_of(self._pids[number]))
        return [one for one in found if one is not None]

    def _pid(self, host: int | str) -> int:
        number = _number(host)
        if number not in self._pids:
            raise RuntimeError(f"host{number} is down")
        return self._pids[number]

    def _ask(self, *request: Any) -> Any:
        box = self._box
        if box is None or box.stdin is None:
            raise RuntimeError("the testbed is down")
        with self._lock:
            box.stdin.write(json.dumps(request) + "\n")
            box.stdin.flush()
            return self._answer()

    def _answer(self) -> Any:
        assert self._box is not None
        assert self._box.stdout is not None
        assert self._box.stderr is not None
        line = self._box.stdout.readline()
        if not line:
            raise RuntimeError(f"the testbed broke: {self._box.stderr.read()}")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["ok"]


def _number(host: int | str) -> int:
    return int(host.removeprefix("host")) if isinstance(host, str) else host


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _stands_still(pid: int) -> bool:
    """Whether a process that was sent SIGSTOP does nothing more of its own.

    One in D waits in the kernel, for good if its child of a vfork was stopped before the exec; it
    obeys the signal before it goes on.
    """
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "TtZXD"
    except OSError:
        return True


def _pids_of(first: int) -> list[int]:
    """The process ids, as this machine sees them, of the host whose process 1 is ``first``."""
    space = os.readlink(f"/proc/{first}/ns/pid")
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != first:
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{entry}/ns/pid") == space:
                    found.append(int(entry))
    return found


def _look_at(pid: int) -> HostProcess | None:
    """A process as it is now; None if it has ended."""
    try:
        status = dict(
            line.split(":\t", 1)
            for line in Path(f"/proc/{pid}/status").read_text().splitlines()
            if ":\t" in line
        )
        cmdline = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1]
        environ = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return None
    if status["State"].startswith(("Z", "X")):
        return None
    pairs = (entry.decode(errors="replace").partition("=") for entry in environ if entry)
    return HostProcess(
        pid=pid,
        parent=int(status["PPid"]),
        host_pid=int(status["NSpid"].split()[-1]),
        cmdline=tuple(word.decode(errors="replace") for word in cmdline),
        environ={name: value for name, _, value in pairs},
    )


def _is_of_the_host(process: HostProcess) -> bool:
    name = process.program
    return name in _DAEMONS or (name.startswith("sshd") and "[listener]" in process.cmdline[0])


def _software() -> list[str]:
    """The folders that hold this project and its Python."""
    return sorted({str(_PROJECT), sys.prefix, sys.base_prefix, str(Path(sys.executable).parent)})


def _other_file_systems() -> list[str]:
    """Where file systems other than the root's hold this project or its Python."""
    points = set()
    for folder in _software():
        point = Path(folder)
        while not point.is_mount():
            point = point.parent
        points.add(str(point))
    return sorted(points - {"/"})


def _free_mount_point() -> str:
    """An empty place for the box to mount its folder on; nobody outside the box will see it."""
    for place in ("/mnt", "/media", "/srv"):
        if os.path.isdir(place) and not any(f.startswith(place) for f in _software()):
            return place
    raise RuntimeError("none of /mnt, /media and /srv can be mounted on")


def wait_until(condition: Any, what: str, timeout_s: float = 20) -> None:
    """Wait until ``condition()`` is true; fails by name after the timeout."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout_s:g} s: {what}")
        time.sleep(0.02)
