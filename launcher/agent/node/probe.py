"""What a node is like: the facts that placement, rendezvous and the table of problems need.

Nothing is judged here: whether a node can be used is decided in controller.placing.preflight.
"""

from __future__ import annotations

import os
import time

from launcher.agent.lowlevel import socket, suppress
from launcher.agent.node.gpu_probe import has_driver
from launcher.agent.node.program_files import compared
from launcher.core.regular import read_regular

TYPE_CHECKING = False  # as type checkers know it; importing typing would delay every start
if TYPE_CHECKING:
    from typing import Any

    from launcher.core.protocol.messages import Facts


def facts(order: dict[str, Any]) -> Facts:
    """All that the controller asks of a node before anything starts (JSON data)."""
    workdir, program = order["workdir"], (order["kind"], order["target"], order["workdir"])
    copies = compared(order["files"], *program)
    return {
        "hostname": socket.gethostname(),
        "cores": cores(),
        "addresses": addresses(),
        "reached_at": [*called_from(), *os.environ.get("SSH_CONNECTION", "").split()[2:3]],
        "time": time.time(),
        "free_disk": _free_disk(workdir),
        "workdir": os.path.isdir(workdir),
        "program": _program_problem(*program),
        "differs": copies["differs"],
        "main": copies["main"],
        "shared": _is_shared(order["run_dir"], order["job_id"]),
        "driver": has_driver(),
        "user": _user(),
    }


def cores() -> int:
    """The processors that are ours: SLURM does not always hold a job to what it was given."""
    ours = len(os.sched_getaffinity(0))
    given = os.environ.get("SLURM_CPUS_ON_NODE", "")
    return min(ours, int(given)) if given.isdigit() and int(given) > 0 else ours


def called_from() -> list[str]:
    """Our address on the way to the launcher, where our standard input is a connection to it."""
    with suppress(OSError):
        call = socket.socket(fileno=os.dup(0))
        try:
            if call.family in (socket.AF_INET, socket.AF_INET6):
                return [call.getsockname()[0]]
        finally:
            call.close()
    return []


def _text(path: str) -> str:
    with suppress(OSError), open(path) as file:
        return file.read().strip()
    return ""


def _user() -> str:
    return os.environ.get("USER") or os.environ.get("LOGNAME") or str(os.getuid())


def addresses() -> dict[str, list[str]]:
    """Addresses by network interface, IPv4 before IPv6, without link-local ones."""
    import fcntl

    by_interface: dict[str, list[str]] = {}
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for _, name in socket.if_nameindex():
        with suppress(OSError):
            packed = fcntl.ioctl(sock, 0x8915, name.encode()[:15].ljust(256, b"\0"))
            by_interface.setdefault(name, []).append(socket.inet_ntoa(packed[20:24]))  # SIOCGIFADDR
    sock.close()
    for row in _text("/proc/net/if_inet6").splitlines():
        digits, _, _, scope, _, name = row.split()
        if scope in ("00", "10"):
            packed = bytes.fromhex(digits)
            by_interface.setdefault(name, []).append(socket.inet_ntop(socket.AF_INET6, packed))
    return by_interface


def interface_of(address: str) -> str | None:
    """The interface that carries ``address``."""
    for name, known in addresses().items():
        if address in known:
            return name
    return None


def route_to(address: str, port: int) -> tuple[str | None, str | None]:
    """Our address and interface on the way to ``address``; no packet is sent."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.connect((address, port))
        mine = sock.getsockname()[0]
    except OSError:
        return None, None
    finally:
        sock.close()
    return mine, interface_of(mine)


def reaches(address: str, port: int, word: bytes = b"", timeout_s: float = 5.0) -> str | None:
    """None if a TCP connection to ``address`` works, or what went wrong.

    ``word`` is said there: it tells the store's door that this node is of the run.
    """
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    sock.settimeout(timeout_s)
    try:
        sock.connect((address, port))
        sock.sendall(word)
    except OSError as error:
        return str(error)
    finally:
        sock.close()
    return None


def _free_disk(path: str) -> int | None:
    with suppress(OSError):
        disk = os.statvfs(path)
        return disk.f_bavail * disk.f_frsize
    return None


def _is_shared(run_dir: str, job_id: str) -> bool:
    """Whether the run folder that the controller made is this node's too."""
    with suppress(OSError):
        return job_id.encode() in read_regular(os.path.join(run_dir, "job.json"), 1 << 20)
    return False


def _program_problem(kind: str, target: str, workdir: str) -> str | None:
    if kind == "script":
        path = os.path.join(workdir, target)
        if not os.path.exists(path):
            return f"script not found: {path}"
        if not os.access(path, os.R_OK):
            return f"script can't be read: {path}"
    elif kind == "program":
        path = target if "/" not in target else os.path.join(workdir, target)
        if not _is_program(path):
            return f"program not found: {target}"
    return None


def _is_program(path: str) -> bool:
    """Whether a path, or a name in PATH, can be run; as shutil.which, whose import takes long."""
    folders = [""] if "/" in path else os.get_exec_path()
    places = [os.path.join(folder, path) for folder in folders]
    return any(os.path.isfile(place) and os.access(place, os.X_OK) for place in places)
